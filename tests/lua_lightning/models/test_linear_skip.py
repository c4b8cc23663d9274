import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression

from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.network import LinearSkip, enlarge
from lua_lightning.models.skip import fit_linear_skip

SMALL = {"channels": 3, "embed_dim": 8, "depths": (1,), "num_heads": 1, "window_size": 4, "head_dim": 8}


@pytest.fixture(params=[2, 4])
def pairs(request):
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(6, 3, 8, 8, generator=generator)
    targets = torch.randn(6, 3, 8 * request.param, 8 * request.param, generator=generator)
    return request.param, latents, targets


def test_untrained_it_is_bicubic(pairs):
    scale, latents, _ = pairs
    model = LatentUpscaler(AdapterConfig(**SMALL, skip="linear")).eval()
    with torch.no_grad():
        assert torch.equal(model(latents, scale), F.interpolate(latents, scale_factor=scale, mode="bicubic"))


def test_the_fit_is_the_least_squares_solution(pairs):
    scale, latents, targets = pairs
    skip = LinearSkip(3, scale)
    fit_linear_skip(skip, latents, targets, ridge=0)
    inputs = F.unfold(F.pad(latents, (1, 1, 1, 1), mode="replicate"), 3).transpose(1, 2).flatten(0, 1).numpy()
    outputs = F.pixel_unshuffle(targets - enlarge(latents, scale), scale).flatten(2).transpose(1, 2).flatten(0, 1)
    expected = torch.from_numpy(LinearRegression().fit(inputs, outputs).predict(inputs)).float()
    expected = F.pixel_shuffle(expected.view(6, 64, -1).transpose(1, 2).unflatten(2, (8, 8)), scale)
    with torch.no_grad():
        torch.testing.assert_close(skip(latents) - enlarge(latents, scale), expected, atol=1e-4, rtol=1e-4)


def test_a_linear_truth_is_found_exactly(pairs):
    scale, latents, _ = pairs
    truth = LinearSkip(3, scale)
    torch.nn.init.normal_(truth.conv.weight, std=0.3)
    torch.nn.init.normal_(truth.conv.bias)
    many = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = LinearSkip(3, scale)
    with torch.no_grad():
        fit_linear_skip(found, many, truth(many))
        torch.testing.assert_close(found(latents), truth(latents), atol=2e-3, rtol=2e-3)


def test_it_is_saved_and_loaded(tmp_path):
    model = LatentUpscaler(AdapterConfig(**SMALL, skip="linear")).eval()
    torch.nn.init.normal_(model.skips["x2"].conv.weight)
    model.save_pretrained(tmp_path)
    latents = torch.randn(1, 3, 5, 7)
    with torch.no_grad():
        assert torch.equal(LatentUpscaler.from_pretrained(tmp_path)(latents, 2), model(latents, 2))
