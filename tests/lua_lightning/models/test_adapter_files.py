"""Adapters from files: the authors' layout, warm starts from pixel SwinIR, and folders of our own."""

import json
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from spandrel.architectures.SwinIR import SwinIR as SpandrelSwinIR
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.models import adapter as adapter_module
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.pretrained import CONFIG_NAME, WEIGHTS_NAME, write_pretrained
from tests.lua_lightning.models.adapters import PAPER, SMALL, authors_weights, noise, small_adapter, spandrel_trunk


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


def test_a_folder_that_diffusers_wrote_again_loads(tmp_path):
    """diffusers adds where its own code is and what the model was called."""
    adapter = LatentUpscaler(AdapterConfig(channels=4, depths=(2,)))
    adapter.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    extra = {"auto_map": {"AutoModel": "modeling_lua.LatentUpscalerLUA"}, "_name_or_path": "someone/lua"}
    (tmp_path / "config.json").write_text(json.dumps({**settings, **extra}))
    assert LatentUpscaler.from_pretrained(tmp_path).config == adapter.config
