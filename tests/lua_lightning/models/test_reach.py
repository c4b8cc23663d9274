"""How far networks see: tiles with that much around them give what the whole gives."""

import pytest
import torch
from torch import nn

from lua_lightning import LatentCodec
from lua_lightning.models import codec as module
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig
from lua_lightning.models.reach import reach_of
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig


def patch_codec(encoder_blocks=1):
    torch.manual_seed(0)
    config = PatchAutoencoderConfig(latent_channels=4, width=8, encoder_blocks=encoder_blocks, decoder_blocks=1)
    model = PatchAutoencoder(config)
    for weight in model.parameters():  # the last layers start at zero
        nn.init.normal_(weight, std=0.1)
    return LatentCodec.of(model, "patch")


def tiny_codec(pooled=False):
    torch.manual_seed(0)
    config = TinyAutoencoderConfig(width=8, encoder_blocks=(1, 1, 1, 1), decoder_blocks=(1, 1, 1, 1), pooled=pooled)
    return LatentCodec.of(TinyAutoencoder(config), "tiny")


CODECS = {"linear": lambda: patch_codec(0), "patch": patch_codec, "tiny": tiny_codec}


@pytest.mark.parametrize("name", CODECS)
def test_tiles_make_no_difference(name, monkeypatch):
    codec = CODECS[name]()
    monkeypatch.setattr(module, "CACHED", 16)
    latents, images = torch.randn(1, 4, 45, 61), torch.rand(1, 3, 8 * 45, 8 * 61) * 2 - 1
    with torch.no_grad():
        whole = codec.decode(latents, tile=64)
        assert torch.allclose(codec.decode(latents), whole, atol=1e-5)  # in parts by itself
        assert torch.allclose(codec.decode(latents, tile=20), whole, atol=1e-5)
        assert torch.allclose(codec.encode(images, tile=160), codec.encode(images), atol=1e-5)


@pytest.mark.parametrize("name", CODECS)
def test_the_reach_is_as_long_as_it_must_be(name):
    """A latent changes the image as far as the reach says and no farther."""
    codec = CODECS[name]()
    latents = torch.zeros(1, 4, 1, 60)
    with torch.no_grad():
        changed = latents.clone()
        changed[..., 0, 30] = 100.0
        moved = (codec.decode(changed) != codec.decode(latents)).any(1)[0].any(0).view(60, 8).any(1).nonzero().flatten()
    reach = codec.decoder_reach
    assert 30 - int(moved.min()) <= reach
    assert int(moved.max()) - 30 <= reach
    assert reach - 1 <= int(moved.max()) - 30


def test_what_looks_at_everything_has_no_reach():
    assert tiny_codec(pooled=True).decoder_reach is None
    assert reach_of(nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(1))) is None
    assert reach_of(nn.Sequential(nn.Conv2d(1, 1, 3), nn.GroupNorm(1, 1))) is None


def test_gradients_are_those_of_the_whole(monkeypatch):
    codec = patch_codec()
    monkeypatch.setattr(module, "CACHED", 8)
    monkeypatch.setattr(module, "tiled", lambda *_, **__: pytest.fail("a decoder with gradients works on the whole"))
    codec.decode(torch.randn(1, 4, 20, 20, requires_grad=True)).sum().backward()
