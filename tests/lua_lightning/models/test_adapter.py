"""The adapter: shapes, gradients, bounds, transfer, and what an untrained one does."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.network import enlarge
from tests.lua_lightning.models.adapters import SMALL, noise, small_adapter


@pytest.mark.parametrize("size", [(7, 13), (1, 1), (5, 64), (8, 8)])
@pytest.mark.parametrize("scale", [2, 4])
def test_an_untrained_adapter_is_bicubic_to_the_bit(size, scale):
    adapter = LatentUpscaler(AdapterConfig.sized("tiny"))
    latents = noise(2, 16, *size)
    bicubic = F.interpolate(latents, scale_factor=scale, mode="bicubic", align_corners=False)
    assert torch.equal(adapter(latents, scale), bicubic)


def test_without_skip_the_head_alone_speaks():
    residual, plain = small_adapter(), LatentUpscaler(AdapterConfig(**SMALL, skip="none"))
    assert plain.heads["x2"].conv_last.weight.abs().sum() > 0
    plain.load_state_dict(residual.state_dict())
    latents = noise(1, 16, 8, 8)
    with torch.inference_mode():
        bicubic = F.interpolate(latents, scale_factor=2, mode="bicubic", align_corners=False)
        torch.testing.assert_close(plain(latents, 2) + bicubic, residual(latents, 2), atol=1e-5, rtol=1e-5)


def test_gradient_reaches_every_parameter():
    adapter = small_adapter()
    for scale in (2, 4):
        adapter(noise(2, 16, 9, 8), scale).square().mean().backward()
    dead = [name for name, parameter in adapter.named_parameters() if not parameter.grad.abs().sum()]
    assert dead == []


def test_training_and_inference_agree():
    adapter = small_adapter()
    latents = noise(2, 16, 9, 8)
    trained = adapter(latents, 2)
    with torch.inference_mode():
        torch.testing.assert_close(adapter(latents, 2), trained, atol=1e-5, rtol=1e-5)
    # Index tensors that inference made must serve a later training step.
    adapter(noise(3, 16, 9, 8), 2)
    with torch.inference_mode():
        adapter(noise(1, 16, 20, 12), 4)
    adapter(noise(1, 16, 20, 12), 4).mean().backward()


def test_inference_leaves_its_input_alone():
    latents = noise(1, 16, 8, 8)
    kept = latents.clone()
    with torch.inference_mode():
        first = small_adapter()(latents, 2)
        assert torch.equal(small_adapter()(latents, 2), first)
    assert torch.equal(latents, kept)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"space": "normalized"}, "did you mean 'normalised'"),
        ({"skip": "bilinear"}, "unknown skip"),
        ({"scales": (2, 3)}, "2, 4 or both"),
        ({"num_heads": 5}, "cannot be divided"),
    ],
)
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(UserError, match=complaint):
        AdapterConfig(**{**SMALL, **settings})


def test_an_unknown_size_is_refused():
    with pytest.raises(UserError, match="did you mean 'light'"):
        AdapterConfig.sized("lite")


def test_latents_of_another_codec_are_refused():
    with pytest.raises(UserError, match=r"have 4 channels, .* made for 16 \(codec flux\)"):
        small_adapter(codec="flux")(noise(1, 4, 8, 8), 2)


def test_a_scale_without_a_head_is_refused():
    with pytest.raises(UserError, match=r"no head for scale 4; its scales are \[2\]"):
        small_adapter(scales=(2,))(noise(1, 16, 8, 8), 4)


@pytest.mark.parametrize(("size", "parameters"), [("tiny", 374_520), ("light", 1_225_880), ("paper", 54_917_584)])
def test_sizes(size, parameters):
    with torch.device("meta"):
        adapter = LatentUpscaler(AdapterConfig.sized(size))
    assert sum(parameter.numel() for parameter in adapter.parameters()) == parameters


def test_the_share_beyond_the_range_counts_each_channel_by_its_own():
    adapter = small_adapter(channels=2)
    latents = torch.tensor([[0.0, 2.0], [-3.0, 0.5]]).view(1, 2, 1, 2)
    assert adapter.out_of_range(latents).isnan().all()
    adapter.set_latent_range([-1, -1], [1, 1])
    assert adapter.out_of_range(latents).tolist() == [0.5]
    adapter.set_latent_range([-1, -4], [1, 1])
    assert adapter.out_of_range(torch.cat([latents, 0 * latents])).tolist() == [0.25, 0]


@pytest.mark.parametrize("skip", ["bicubic", "linear", "none"])
def test_a_bounded_residual_keeps_to_its_bound(skip):
    adapter = small_adapter(channels=2, skip=skip, residual_bound=0.25)
    for head in adapter.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=5.0)
    latents = noise(1, 2, 8, 8)
    with pytest.raises(UserError, match="needs latent_range"):
        adapter(latents, 2)
    adapter.set_latent_range([-4, 2], [4, 3])
    with torch.no_grad():
        output = adapter(latents, 2)
        base = torch.tensor([0.0, 2.5]).view(1, 2, 1, 1) if skip == "none" else enlarge(latents, 2)
        residual = (output - base).abs().amax((0, 2, 3))
        free = LatentUpscaler(replace(adapter.config, residual_bound=0.0, latent_range=None))
        free.load_state_dict(adapter.state_dict())
        assert ((free(latents, 2) - base).abs().amax((0, 2, 3)) > torch.tensor([1.0, 0.125])).all()
    assert (residual <= torch.tensor([1.0, 0.125]) + 1e-6).all()
    assert (residual > torch.tensor([0.9, 0.11])).all()


def test_a_bounded_adapter_is_saved_with_its_range(tmp_path):
    adapter = small_adapter(channels=2, residual_bound=0.1)
    adapter.set_latent_range([-1, -2], [1, 2])
    adapter.save_pretrained(tmp_path)
    loaded = LatentUpscaler.from_pretrained(tmp_path)
    assert loaded.config == adapter.config
    latents = noise(1, 2, 8, 8)
    assert torch.equal(loaded(latents, 4), adapter.eval()(latents, 4))


@pytest.mark.parametrize("channels", [4, 16])
def test_a_transfer_keeps_trunk_and_heads_and_renews_the_ends(channels):
    adapter = small_adapter(channels=16, codec="flux", space="raw", skip="linear")
    adapter.set_latent_range([-1] * 16, [1] * 16)
    other = adapter.for_codec(channels, "sdxl", 8)
    assert (other.config.channels, other.config.codec, other.config.space) == (channels, "sdxl", "normalised")
    assert other.config.latent_range is None
    before, after = adapter.state_dict(), other.state_dict()
    assert before.keys() == after.keys()
    renewed = {
        name for name in before if before[name].shape != after[name].shape or not before[name].equal(after[name])
    }
    ends = {"conv_first.weight", "conv_first.bias"}
    if channels == 4:
        layers = [
            f"{layer}.x{scale}.{conv}"
            for scale in (2, 4)
            for layer, conv in (("heads", "conv_last"), ("skips", "conv"))
        ]
        ends |= {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert renewed == ends
    assert other(torch.randn(1, channels, 8, 8), 2).shape == (1, channels, 16, 16)
