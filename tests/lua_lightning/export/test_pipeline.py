"""The exported pipeline with diffusers' own autoencoders: pictures, latents and tokens, against adapter and codec."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.export.diffusers import CLASS, CODE, loaded, module_of
from lua_lightning.export.pipeline import PIPELINE, PIPELINE_CLASS, export
from lua_lightning.export.subject import find_subject
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline import upscale_latents
from tests.lua_lightning.export.conftest import TINY
from tests.lua_lightning.export.modular_pipelines import qwen_image
from tests.lua_lightning.generators.pipelines import cpu_as_accelerator
from tests.lua_lightning.models.adapters import noise, small_adapter
from tests.lua_lightning.models.autoencoders import build

KINDS = ["AutoencoderKL (SD3, FLUX: shift)", "AutoencoderKLFlux2", "AutoencoderKLQwenImage"]


def autoencoder(kind):
    return qwen_image()[1]["vae"] if kind == "AutoencoderKLQwenImage" else build(kind)


@pytest.fixture(scope="module", params=[(kind, space) for kind in KINDS for space in ("normalised", "raw")], ids=str)
def exported(request, tmp_path_factory):
    """A pipeline as it is exported, its adapter and its codec."""
    kind, space = request.param
    folder = tmp_path_factory.mktemp("pipeline")
    vae = autoencoder(kind).eval()
    vae.save_pretrained(folder / "vae")
    small_adapter(**TINY, space=space).save_pretrained(folder / "adapter")
    subject = find_subject(str(folder / "adapter"), "you/lua", codec=str(folder / "vae"))
    assert export(subject, folder / "out") < 1e-5
    parts = {"vae": vae, "latent_upscaler": loaded(folder / "out/latent_upscaler", CODE, CLASS)}
    assert (folder / "out/vae/diffusion_pytorch_model.safetensors").is_file()
    pipe = getattr(module_of(folder / "out" / PIPELINE), PIPELINE_CLASS)(**parts)
    return pipe, subject.adapter, LatentCodec.of(vae, kind)


def test_latents_tokens_and_pictures_give_the_same_images_as_by_hand(exported):
    pipe, adapter, codec = exported
    latents = noise(1, 4, 8, 6)
    with torch.inference_mode():
        expected = codec.decode(upscale_latents(adapter, codec, latents, 2))
        tokens = F.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)
        from_latents = pipe(latents=latents, output_type="pt").images
        from_tokens = pipe(latents=tokens, height=64, width=48, output_type="pt").images
        cells = pipe(latents=F.pixel_unshuffle(latents, 2), output_type="pt").images
    for found in (from_latents, from_tokens, cells):
        torch.testing.assert_close(found, (expected / 2 + 0.5).clamp(0, 1), atol=1e-5, rtol=0)

    picture = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        by_hand = upscale_latents(adapter, codec, codec.encode(2 * picture - 1), 4)
    found = pipe(image=picture, upscale=4, output_type="latent").images
    torch.testing.assert_close(found, by_hand, atol=1e-5, rtol=0)
    (image,) = pipe(image=Image.new("RGB", (48, 64)), upscale=2).images
    assert image.size == (96, 128)


def test_wrong_arguments_are_refused(exported):
    pipe, _, _ = exported
    for arguments, said in (
        ({}, "either"),
        ({"latents": noise(1, 12, 16)}, "height"),
        ({"latents": noise(1, 13, 16), "height": 64, "width": 48}, "13 tokens are not those"),
        ({"latents": noise(1, 5, 8, 8)}, "5 channels"),
        ({"latents": noise(1, 4, 8, 8), "upscale": 3}, "no head for scale 3"),
    ):
        with pytest.raises(ValueError, match=said):
            pipe(**arguments)


def test_an_autoencoder_that_diffusers_has_not_is_refused(tmp_path, monkeypatch):
    small_adapter(**{**TINY, "channels": 3}, downscale=1).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="none of diffusers"):
        export(find_subject(str(tmp_path / "adapter"), "you/lua", codec="rgb"), tmp_path / "out")


@pytest.mark.parametrize("offload", ["model", "sequential"])
def test_an_offloaded_pipeline_makes_the_same_images(exported, offload, monkeypatch):
    cpu_as_accelerator(monkeypatch)
    pipe, latents = exported[0], noise(1, 4, 8, 6)
    right = pipe(latents=latents, output_type="pt").images
    getattr(pipe, f"enable_{offload}_cpu_offload")(device="cpu")
    try:
        for _ in range(2):
            found = pipe(latents=latents, output_type="pt").images
            torch.testing.assert_close(found, right, atol=1e-5, rtol=0)
        assert ({weight.device.type for weight in pipe.vae.parameters()} == {"meta"}) == (offload == "sequential")
    finally:
        pipe.remove_all_hooks()
