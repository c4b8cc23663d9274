import torch

from baselines.lsrna import edge_density, region_noise


def test_edges_are_where_the_image_has_them():
    image = torch.full((1, 3, 64, 64), -1.0)
    image[..., 32:] = 1.0
    density = edge_density(image, 16, 16)
    assert density.shape == (1, 1, 16, 16)
    assert float(density.amax()) == 1
    assert float(density[..., 7:9].amax(-1).min()) == 1  # along the whole edge
    assert float(density[..., :6].max()) == float(density[..., 10:].max()) == 0


def test_a_flat_image_has_none():
    assert float(edge_density(torch.zeros(1, 3, 32, 32), 8, 8).max()) == 0


def test_noise_goes_from_low_to_high_with_the_edges():
    density = torch.zeros(1, 1, 8, 64)
    density[..., 32:] = 1
    latents = torch.zeros(1, 200, 8, 64)
    noisy = region_noise(latents, density, 0.0, 1.2, torch.Generator().manual_seed(0))
    assert noisy[..., :32].equal(latents[..., :32])
    assert abs(float(noisy[..., 32:].std()) - 1.2) < 0.02
