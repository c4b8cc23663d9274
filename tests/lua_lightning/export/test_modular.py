"""The modular step inside the generators' own blocks, made small and random, against adapter and decoder by hand."""

import pytest
import torch
import torch.nn.functional as F

from lua_lightning.export.diffusers import CLASS, CODE, loaded, module_of
from lua_lightning.export.modular import BLOCK, COMPONENT, STEP, export
from lua_lightning.export.subject import find_subject
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline import upscale_latents
from tests.lua_lightning.export.conftest import TINY
from tests.lua_lightning.export.modular_pipelines import FAMILIES, HEIGHT, WIDTH, run
from tests.lua_lightning.models.adapters import noise, small_adapter


@pytest.fixture(scope="module", params=["normalised", "raw"])
def exported(request, tmp_path_factory):
    """The folder of an export, and the adapter in it."""
    folder = tmp_path_factory.mktemp("modular")
    small_adapter(**TINY, space=request.param, codec="test").save_pretrained(folder / "adapter")
    subject = find_subject(str(folder / "adapter"), "you/lua")
    export(subject, folder / "out")
    return folder / "out", subject.adapter


def grid(latents):
    """Return latents (B, 4, H, W), whatever the layout."""
    if latents.ndim == 5:
        latents = latents[:, :, 0]
    return F.pixel_shuffle(latents, 2) if latents.shape[1] == 16 else latents


@pytest.mark.parametrize("family", FAMILIES)
def test_a_generator_with_the_step_makes_larger_images(family, exported):
    folder, adapter = exported
    blocks, parts, arguments = FAMILIES[family]()
    decode = blocks.sub_blocks.pop("decode")
    latents = run(blocks, parts, arguments, "latents")
    codec = LatentCodec.of(parts["vae"], family)
    expected = upscale_latents(adapter, codec, grid(latents), 2)
    with torch.inference_mode():
        images = (codec.decode(expected) / 2 + 0.5).clamp(0, 1)

    step = getattr(module_of(folder / BLOCK), STEP)()
    blocks.sub_blocks.insert("latent_upscale", step, len(blocks.sub_blocks))
    parts[COMPONENT] = loaded(folder / COMPONENT, CODE, CLASS)
    larger = run(blocks, parts, arguments, "latents")
    assert larger.ndim == latents.ndim
    torch.testing.assert_close(grid(larger), expected, atol=1e-5, rtol=1e-5)

    blocks.sub_blocks.insert("decode", decode, len(blocks.sub_blocks))
    found = run(blocks, parts, arguments, "images")
    assert found.shape == (1, 3, 2 * HEIGHT, 2 * WIDTH)
    torch.testing.assert_close(found, images, atol=2e-5, rtol=0)
    unchanged = run(blocks, parts, {**arguments, "upscale": 1}, "images")
    assert unchanged.shape == (1, 3, HEIGHT, WIDTH)


def test_tokens_are_refused_and_films_are_enlarged_frame_by_frame(exported):
    folder, adapter = exported
    module = module_of(folder / BLOCK)
    model = loaded(folder / COMPONENT, CODE, CLASS)
    if adapter.config.space == "raw":
        with pytest.raises(ValueError, match="autoencoder, `vae`"):
            module.enlarged(model, None, noise(1, 4, 6, 6), 2)
        return
    with pytest.raises(ValueError, match="unpack them"):
        module.enlarged(model, None, noise(1, 20, 16), 2)
    film = noise(2, 4, 3, 5, 6)
    with torch.inference_mode():
        larger = module.enlarged(model, None, film, 4)
        for frame in range(3):
            torch.testing.assert_close(larger[:, :, frame], adapter(film[:, :, frame], 4), atol=1e-6, rtol=0)


def test_boxes_in_pixels_grow_with_the_image(exported):
    folder, _ = exported
    pipe = getattr(module_of(folder / BLOCK), STEP)().init_pipeline()
    pipe.update_components(**{COMPONENT: loaded(folder / COMPONENT, CODE, CLASS)})
    if pipe.latent_upscaler.config.space == "raw":
        pipe.vae = FAMILIES["SDXL"]()[1]["vae"]
    state = pipe(latents=noise(1, 4, 6, 6), upscale=4, reference_crop=[(0, 8, 16, 40), None])
    assert state.get("reference_crop") == [(0, 32, 64, 160), None]
