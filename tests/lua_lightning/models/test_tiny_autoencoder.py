"""Tiny autoencoders in both published layouts, against diffusers' own class, and TAEF2's pooled blocks."""

import json

import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

from lua_lightning.errors import UserError
from lua_lightning.models.codec import KNOWN, LatentCodec, variable_of
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig


@pytest.fixture
def images():
    return torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture
def published():
    torch.manual_seed(0)
    return TinyAutoencoder(TinyAutoencoderConfig(latent_channels=32, width=8, pooled=True)).eval()


def diffusers_layout(model):
    """Return the state dict as diffusers names it: numbered layers, the decoder's without the squeeze."""
    renamed = {}
    for name, value in model.state_dict().items():
        half, number, rest = name.split(".", 2)
        renamed[f"{half}.layers.{int(number) - (half == 'decoder')}.{rest}"] = value.contiguous()
    return renamed


def halves(model, half):
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    return {name.removeprefix(f"{half}."): value for name, value in state.items() if name.startswith(half)}


def test_it_computes_what_diffusers_computes(images, tmp_path):
    torch.manual_seed(0)
    theirs = AutoencoderTiny(
        latent_channels=16,
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 2, 3, 2),
        num_decoder_blocks=(2, 3, 2, 1),
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = TinyAutoencoder.from_pretrained(tmp_path)
    with torch.no_grad():
        latents = theirs.encode(images).latents
        torch.testing.assert_close(ours.encode(images), latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours.decode(latents), theirs.decode(latents).sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("given", ["folder", "encoder", "decoder"])
def test_the_authors_two_files_load_by_either_or_their_folder(published, images, tmp_path, suffix, given):
    write = torch.save if suffix == "pth" else save_file
    for half in ("encoder", "decoder"):
        write(halves(published, half), tmp_path / f"taef2_{half}.{suffix}")
    codec = LatentCodec.from_pretrained(tmp_path if given == "folder" else tmp_path / f"taef2_{given}.{suffix}")
    assert (codec.channels, codec.downscale) == (32, 8)
    with torch.no_grad():
        torch.testing.assert_close(codec.encode(images), published.encode(images))
        torch.testing.assert_close(codec.decode(codec.encode(images)), published.decode(published.encode(images)))


def test_one_file_in_diffusers_layout_keeps_the_pooled_blocks(published, images, tmp_path):
    save_file(diffusers_layout(published), tmp_path / "taef2.safetensors")
    codec = LatentCodec.from_pretrained(tmp_path / "taef2.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(codec.decode(codec.encode(images)), published.decode(published.encode(images)))


def test_pooled_blocks_are_not_dropped_where_diffusers_would(published, tmp_path):
    save_file(diffusers_layout(published), tmp_path / "diffusion_pytorch_model.safetensors")
    settings = {"_class_name": "AutoencoderTiny", "latent_channels": 32, "act_fn": "relu"}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    assert LatentCodec.from_pretrained(tmp_path).model.config.pooled


def test_a_known_name_may_be_pointed_at_a_file(published, tmp_path, monkeypatch):
    assert "taef2" in KNOWN
    save_file(diffusers_layout(published), tmp_path / "taef2.safetensors")
    monkeypatch.setenv(variable_of("taef2"), str(tmp_path / "taef2.safetensors"))
    codec = LatentCodec.from_pretrained("taef2")
    assert (codec.source, codec.channels) == ("taef2", 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("encoder.layers.3.conv.0.weight"), "1 missing .such as encoder.3.conv.0.weight"),
        (lambda tensors: tensors.update({"decoder.layers.99.bias": torch.zeros(3)}), "1 unexpected"),
        (lambda tensors: tensors.update({"decoder.layers.0.bias": torch.zeros(3)}), "1 of another shape"),
        (lambda tensors: tensors.update({"quant.weight": torch.zeros(3)}), "no tiny autoencoder has"),
        (lambda tensors: tensors.pop("decoder.layers.0.weight"), "not a whole tiny autoencoder"),
    ],
)
def test_half_a_model_is_never_loaded(published, tmp_path, change, message):
    tensors = diffusers_layout(published)
    change(tensors)
    save_file(tensors, tmp_path / "taef2.safetensors")
    with pytest.raises(UserError, match=message):
        LatentCodec.from_pretrained(tmp_path)


def test_one_half_alone_names_the_other(published, tmp_path):
    save_file(halves(published, "decoder"), tmp_path / "taef2_decoder.safetensors")
    with pytest.raises(UserError, match=r"put its encoder beside it, as taef2_encoder\.safetensors"):
        LatentCodec.from_pretrained(tmp_path / "taef2_decoder.safetensors")


def test_a_layer_that_is_not_the_published_one_is_refused(published, tmp_path):
    save_file(diffusers_layout(published), tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderTiny", "act_fn": "silu"}))
    with pytest.raises(UserError, match="act_fn='silu'"):
        LatentCodec.from_pretrained(tmp_path)


@pytest.mark.parametrize("broken", ["missing", "unexpected", "mismatched"])
def test_a_diffusers_autoencoder_that_loads_in_part_is_refused(tmp_path, broken):
    from safetensors.torch import load_file

    from tests.lua_lightning.models.autoencoders import build

    build("AutoencoderKLFlux2").save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    if broken == "missing":
        tensors.pop("decoder.conv_in.weight")
    elif broken == "unexpected":
        tensors["decoder.pool.weight"] = torch.zeros(3)
    else:
        tensors["decoder.conv_in.bias"] = torch.zeros(3)
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match="decoder"):
        LatentCodec.from_pretrained(tmp_path)
