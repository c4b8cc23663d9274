import pytest
import torch

from lua_lightning.pairs.crops import detail_map, dihedral, draw_apart, draw_positions, grid_positions


@pytest.fixture
def half_sky():
    """Flat on the left, noise on the right."""
    image = torch.zeros(1, 3, 128, 256)
    image[..., 128:] = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    return image


def test_detail_is_the_mean_gradient_of_the_crop(half_sky):
    detail = detail_map(half_sky, 64)
    assert detail.shape == ((128 - 64) // 8 + 1, (256 - 64) // 8 + 1)
    assert detail[:, 0].max() < 1e-6 < 0.1 < detail[:, -1].min()


def test_crops_fall_on_detail_and_on_latents(half_sky):
    positions = draw_positions(half_sky, 64, 200, torch.Generator().manual_seed(1))
    assert all(top % 8 == 0 and left % 8 == 0 and left + 64 > 128 for top, left in positions)
    assert positions == draw_positions(half_sky, 64, 200, torch.Generator().manual_seed(1))


def test_validation_crops_do_not_overlap():
    image = torch.randn(1, 3, 256, 384, generator=torch.Generator().manual_seed(2))
    positions = draw_apart(image, 64, 10, torch.Generator().manual_seed(3))
    assert len(positions) >= 6
    for index, (top, left) in enumerate(positions):
        for other_top, other_left in positions[:index]:
            assert abs(top - other_top) >= 64 or abs(left - other_left) >= 64


def test_an_image_of_one_crop_gives_one_crop():
    assert draw_apart(torch.zeros(1, 3, 64, 64), 64, 5, torch.Generator().manual_seed(0)) == [(0, 0)]


def test_the_grid_tiles_without_overlap():
    assert grid_positions(130, 200, 64) == [(0, 0), (0, 64), (0, 128), (64, 0), (64, 64), (64, 128)]


def test_the_eight_symmetries_differ_and_start_with_the_identity():
    image = torch.arange(12.0).reshape(1, 3, 4)
    seen = {tuple(dihedral(image, index).flatten().tolist()) for index in range(8)}
    assert len(seen) == 8
    assert torch.equal(dihedral(image, 0), image)
