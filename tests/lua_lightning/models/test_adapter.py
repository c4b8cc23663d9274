"""The adapter: the authors' file layout, shapes, saving, and what an untrained one does."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from spandrel.architectures.SwinIR import SwinIR as SpandrelSwinIR
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.models import adapter as adapter_module
from lua_lightning.models.adapter import SIZES, AdapterConfig, LatentUpscaler
from lua_lightning.models.pretrained import CONFIG_NAME, WEIGHTS_NAME, write_pretrained
from lua_lightning.models.skip import enlarge

SMALL = {"embed_dim": 24, "depths": (2, 3), "num_heads": 3, "window_size": 4, "head_dim": 12}
PAPER = SIZES["paper"]


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def small_adapter(**settings: object) -> LatentUpscaler:
    """Return an adapter whose last layers are non-zero, so that everything shows in its output."""
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig(**{**SMALL, **settings}))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.05)
    return model


def spandrel_trunk(sizes: dict, spread: float = 0.03) -> SpandrelSwinIR:
    """Return spandrel's SwinIR on 16 channels with every parameter random; its trunk is the adapter's."""
    count = len(sizes["depths"])
    trunk = SpandrelSwinIR(
        img_size=4 * sizes["window_size"],
        in_chans=16,
        embed_dim=sizes["embed_dim"],
        depths=list(sizes["depths"]),
        num_heads=[sizes["num_heads"]] * count,
        window_size=sizes["window_size"],
        mlp_ratio=2.0,
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in trunk.named_parameters():
            wide = 0.5 if name.endswith("relative_position_bias_table") else spread
            parameter += wide * torch.randn(parameter.shape, generator=generator)
    return trunk.eval()


def authors_weights(trunk: SpandrelSwinIR, sizes: dict) -> dict[str, Tensor]:
    """Return weights by the names in the authors' file: the trunk's (buffers too) and random heads."""
    weights = {name: tensor for name, tensor in trunk.state_dict().items() if not name.startswith("conv_last")}
    embed_dim, width = sizes["embed_dim"], sizes["head_dim"]
    for scale, steps in ((2, 1), (4, 2)):
        layers = [("conv_before.0", embed_dim, width)]
        layers += [(f"upsample.{2 * step}", width, 4 * width) for step in range(steps)] + [("conv_last", width, 16)]
        for seed, (layer, fan_in, fan_out) in enumerate(layers):
            weights[f"heads.x{scale}.{layer}.weight"] = noise(fan_out, fan_in, 3, 3, seed=seed) / (9 * fan_in) ** 0.5
            weights[f"heads.x{scale}.{layer}.bias"] = 0.1 * noise(fan_out, seed=seed + 10)
    return weights


@torch.inference_mode()
def recompute(trunk: SpandrelSwinIR, weights: dict[str, Tensor], latents: Tensor, scale: int) -> Tensor:
    """Compute what PAPER.md describes from single operations, on spandrel's trunk."""
    height, width = latents.shape[2:]
    window = trunk.window_size
    padded = F.pad(latents, (0, -width % window, 0, -height % window), mode="reflect")
    first = trunk.conv_first(padded)
    features = first + trunk.conv_after_body(trunk.forward_features(first))

    def convolve(x: Tensor, layer: str) -> Tensor:
        name = f"heads.x{scale}.{layer}"
        return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    features = F.leaky_relu(convolve(features, "conv_before.0"), 0.01)
    features = F.pixel_shuffle(convolve(features, "upsample.0"), 2)
    if scale == 4:
        features = F.pixel_shuffle(convolve(features, "upsample.2"), 2)
    return convolve(features, "conv_last")[..., : height * scale, : width * scale]


@pytest.mark.parametrize("wrapping", ["params_ema", "params", "bare"])
def test_file_of_the_authors_layout_computes_what_the_paper_describes(tmp_path, wrapping):
    trunk = spandrel_trunk(SMALL)
    weights = authors_weights(trunk, SMALL)
    assert any(name.endswith("attn_mask") for name in weights)
    assert any(name.endswith("relative_position_index") for name in weights)
    other = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    contents = {"params_ema": {"params": other, "params_ema": weights}, "params": {"params": weights}, "bare": weights}
    torch.save(contents[wrapping], tmp_path / "lua_flux.pth")
    adapter = LatentUpscaler.from_pretrained(tmp_path / "lua_flux.pth")
    assert adapter.config == AdapterConfig(**SMALL, channels=16, codec="flux", space="raw", skip="none")
    assert not adapter.training
    for scale in (2, 4):
        latents = noise(2, 16, 11, 14)
        expected = recompute(trunk, weights, latents, scale)
        assert expected.std() > 0.1
        with torch.inference_mode():
            torch.testing.assert_close(adapter(latents, scale), expected, atol=1e-5, rtol=1e-5)


def test_file_of_the_released_size_loads_and_computes(tmp_path):
    trunk = spandrel_trunk(PAPER, spread=0.01)
    weights = authors_weights(trunk, PAPER)
    torch.save({"params_ema": weights}, tmp_path / "lua_flux.pth")
    adapter = LatentUpscaler.from_pretrained(tmp_path)
    assert adapter.config == AdapterConfig.sized("paper", codec="flux", space="raw", skip="none")
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 54_917_584
    latents = noise(1, 16, 17, 9)
    expected = recompute(trunk, weights, latents, 2)
    assert expected.std() > 0.1
    with torch.inference_mode():
        torch.testing.assert_close(adapter(latents, 2), expected, atol=1e-5, rtol=1e-5)


def test_the_authors_repository_is_read_from_its_weights_file(tmp_path, monkeypatch):
    torch.save(authors_weights(spandrel_trunk(SMALL), SMALL), tmp_path / "lua_flux.pth")
    asked = []

    def download(repo_id, filename, revision=None):
        asked.append((repo_id, filename, revision))
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert LatentUpscaler.from_pretrained("vaskers5/LUA-FLUX", revision="main").config.codec == "flux"
    assert asked == [("vaskers5/LUA-FLUX", "lua_flux.pth", "main")]


def test_an_unreachable_hub_is_explained(monkeypatch):
    def download(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(UserError, match=r"LUA-FLUX could not be fetched .* give that file's path"):
        LatentUpscaler.from_pretrained(adapter_module.AUTHORS_REPO)


class Command:
    """Pickles as an instruction to run a command."""

    def __reduce__(self):
        return os.system, ("touch code_ran",)


def test_a_file_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = authors_weights(spandrel_trunk(SMALL), SMALL)
    torch.save({"params_ema": weights, "note": Command()}, tmp_path / "lua_flux.pth")
    with pytest.raises(UserError, match="more than tensors"):
        LatentUpscaler.from_pretrained(tmp_path / "lua_flux.pth")
    assert not Path("code_ran").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: weights.update(surplus=torch.zeros(1)), "1 unexpected .such as surplus"),
        (lambda weights: weights.pop("heads.x4.upsample.2.bias"), "1 missing .such as heads.x4.upsample.2.bias"),
        (lambda weights: [weights.pop(name) for name in [*weights] if name.startswith("heads")], "no head for scale"),
        (lambda weights: weights.pop("conv_first.weight"), "does not hold SwinIR weights"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, change, complaint):
    weights = authors_weights(spandrel_trunk(SMALL), SMALL)
    change(weights)
    torch.save(weights, tmp_path / "lua_flux.pth")
    with pytest.raises(UserError, match=complaint):
        LatentUpscaler.from_pretrained(tmp_path / "lua_flux.pth")


def pixel_swinir_file(folder: Path, **settings: object) -> tuple[Path, dict[str, Tensor]]:
    pixel = SpandrelSwinIR(
        **{
            "embed_dim": SMALL["embed_dim"],
            "depths": list(SMALL["depths"]),
            "num_heads": [3, 3],
            "window_size": 4,
            "mlp_ratio": 2.0,
            "upscale": 2,
            "upsampler": "pixelshuffle",
            **settings,
        }
    )
    torch.save({"params": pixel.state_dict()}, folder / "swinir.pth")
    return folder / "swinir.pth", pixel.state_dict()


def test_warm_start_copies_the_trunk_of_a_pixel_swinir(tmp_path):
    path, pixel = pixel_swinir_file(tmp_path)
    adapter = small_adapter()
    before = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    copied = adapter.warm_start(path)
    kept = [name for name in before if name not in copied]
    assert all(name.startswith(("conv_first", "heads.")) for name in kept)
    assert "conv_first.weight" in kept
    after = adapter.state_dict()
    assert all(torch.equal(after[name], pixel[name]) for name in copied)
    assert all(torch.equal(after[name], before[name]) for name in kept if name != "conv_first.bias")
    assert "conv_first.weight" in small_adapter(channels=3).warm_start(path)


def test_warm_start_from_another_size_says_which(tmp_path):
    path, _ = pixel_swinir_file(tmp_path, embed_dim=36, window_size=8)
    with pytest.raises(UserError, match="embed_dim 36 where this has 24, window_size 8 where this has 4"):
        small_adapter().warm_start(path)


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


def test_saved_adapters_load_to_the_bit(tmp_path):
    adapter = small_adapter(channels=4, codec="sdxl", scales=(2,), skip="bicubic")
    adapter.save_pretrained(tmp_path / "saved")
    loaded = LatentUpscaler.from_pretrained(tmp_path / "saved")
    assert loaded.config == adapter.config
    assert json.loads((tmp_path / "saved" / CONFIG_NAME).read_text())["_class_name"] == "LatentUpscaler"
    weights = loaded.state_dict()
    assert weights.keys() == adapter.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in adapter.state_dict().items())
    assert LatentUpscaler.from_pretrained(tmp_path / "saved" / WEIGHTS_NAME).config == adapter.config


def test_an_unknown_key_in_the_config_is_refused(tmp_path):
    adapter = small_adapter()
    write_pretrained(tmp_path, {"embed_dims": 24}, adapter.state_dict())
    with pytest.raises(UserError, match="'embed_dims': did you mean 'embed_dim'"):
        LatentUpscaler.from_pretrained(tmp_path)


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


def test_a_folder_that_diffusers_wrote_again_loads(tmp_path):
    """diffusers adds where its own code is and what the model was called."""
    adapter = LatentUpscaler(AdapterConfig(channels=4, depths=(2,)))
    adapter.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    extra = {"auto_map": {"AutoModel": "modeling_lua.LatentUpscalerLUA"}, "_name_or_path": "someone/lua"}
    (tmp_path / "config.json").write_text(json.dumps({**settings, **extra}))
    assert LatentUpscaler.from_pretrained(tmp_path).config == adapter.config
