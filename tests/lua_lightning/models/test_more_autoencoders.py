"""Autoencoders made for films, deep compression, channel by channel: against their pipelines' own decode step."""

import pytest
import torch
from diffusers import AutoencoderDC, AutoencoderKLQwenImage, AutoencoderKLQwenImage21, AutoencoderKLWan

from lua_lightning.models.codec import LatentCodec
from tests.lua_lightning.models.test_precision import DTYPES

MEAN, DEVIATION = [0.3, -0.2, 0.1, 0.5], [1.5, 0.7, 2.0, 1.1]
FILM = {"base_dim": 8, "z_dim": 4, "num_res_blocks": 1, "latents_mean": MEAN, "latents_std": DEVIATION}
KINDS = ["AutoencoderKLWan", "AutoencoderKLQwenImage", "AutoencoderKLQwenImage21", "AutoencoderDC"]


def build(kind):
    torch.manual_seed(0)
    if kind == "AutoencoderKLWan":
        return AutoencoderKLWan(**FILM).eval()
    if kind == "AutoencoderKLQwenImage":
        return AutoencoderKLQwenImage(**FILM).eval()
    if kind == "AutoencoderKLQwenImage21":
        return AutoencoderKLQwenImage21(**{**FILM, "base_dim": 8}, decoder_base_dim=8).eval()
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    ).eval()


def pipelines_own(kind, model, latents):
    """Return the images (N, 3, H, W) that the pipeline of an autoencoder decodes from its latents (N, C, h, w)."""
    if kind == "AutoencoderDC":  # SanaPipeline
        return model.decode(latents / model.config.scaling_factor, return_dict=False)[0]
    film = latents[:, :, None]  # WanPipeline and QwenImagePipeline
    mean = torch.tensor(model.config.latents_mean).view(1, -1, 1, 1, 1)
    inverse = 1.0 / torch.tensor(model.config.latents_std).view(1, -1, 1, 1, 1)
    return model.decode(film / inverse + mean, return_dict=False)[0][:, :3, 0]  # the fourth of QwenImage21 is alpha


@pytest.mark.parametrize("kind", KINDS)
def test_latents_decode_to_the_pipelines_own_image(kind):
    model = build(kind)
    codec = LatentCodec.of(model, kind)
    latents = torch.randn(2, 4, 4, 6)
    with torch.no_grad():
        expected = pipelines_own(kind, model, latents)
        images = codec.decode(latents)
    assert images.shape == (2, 3, 4 * codec.downscale, 6 * codec.downscale)
    torch.testing.assert_close(images, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_goes_in_and_comes_back_as_one_frame(kind):
    model = build(kind)
    codec = LatentCodec.of(model, kind)
    pixels = torch.rand(2, 3, 8 * codec.downscale, 4 * codec.downscale) * 2 - 1
    latents = codec.encode(pixels)
    assert latents.shape == (2, 4, 8, 4)
    with torch.no_grad():
        if kind == "AutoencoderDC":
            raw = model.encode(pixels).latent
        else:
            opaque = torch.ones_like(pixels[:, :1]) if kind == "AutoencoderKLQwenImage21" else pixels[:, :0]
            raw = model.encode(torch.cat([pixels, opaque], 1)[:, :, None]).latent_dist.mode()[:, :, 0]
        expected = model.decode(raw if kind == "AutoencoderDC" else raw[:, :, None]).sample
        expected = expected if kind == "AutoencoderDC" else expected[:, :3, 0]
        torch.testing.assert_close(codec.denormalise(latents), raw, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(codec.decode(latents), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_they_work_in_half_precision(kind, dtype):
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        right = LatentCodec.of(build(kind), kind).decode(latents)
        ours = LatentCodec.of(build(kind).to(dtype), kind).decode(latents)
    assert (ours - right).abs().mean() <= 0.05 * right.abs().mean()
