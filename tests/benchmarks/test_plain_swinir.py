"""The plain SwinIR that training is compared with computes what our network computes."""

import pytest
import torch

from benchmarks.plain_swinir import PlainSwinIR
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler


def both(**settings):
    torch.manual_seed(0)
    config = AdapterConfig(**{"channels": 4, "embed_dim": 24, "depths": (2, 2), "window_size": 4, **settings})
    ours, plain = LatentUpscaler(config), PlainSwinIR(config)
    with torch.no_grad():
        for weight in ours.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("skip", ["linear", "bicubic", "none"])
def test_output_and_gradients_are_those_of_our_network(skip, scale):
    ours, plain = both(skip=skip)
    latents = torch.randn(2, 4, 10, 15)
    outputs = [model(latents, scale) for model in (ours, plain)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    theirs = dict(plain.named_parameters())
    reached = [name for name, weight in ours.named_parameters() if weight.grad is not None]
    assert len(reached) > 30
    for name, weight in ours.named_parameters():
        if name in reached:
            torch.testing.assert_close(weight.grad, theirs[name].grad, rtol=1e-3, atol=1e-6, msg=name)
        else:
            assert theirs[name].grad is None


def test_both_round_the_same_under_autocast():
    ours, plain = both(skip="linear")
    latents = torch.randn(1, 4, 12, 8)
    exact = ours(latents, 2)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = [model(latents, 2) for model in (ours, plain)]
    assert all(output.dtype == torch.float32 for output in rounded)
    errors = [float((output - exact).abs().max()) for output in rounded]
    assert 0 < errors[1] < 3 * errors[0]
    assert errors[0] < 3 * errors[1]


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match="without a bound"):
        PlainSwinIR(AdapterConfig(residual_bound=1.0, latent_range=((-1, 1),) * 16))
