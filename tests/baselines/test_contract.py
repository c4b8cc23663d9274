"""What precision the methods work in."""

import pytest
import torch

from baselines import contract
from baselines.contract import World
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from tests.lua_lightning.models.autoencoders import KINDS, build


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_images_are_decoded_in_the_autoencoders_dtype_from_latents_in_full(kind, dtype):
    world = World(device="cpu")
    world.codec = codec = LatentCodec.of(build(kind).to(dtype), kind)
    latents = torch.randn(1, codec.channels, 4, 4)
    with torch.no_grad():
        images = world.decode(latents)
        expected = codec.decode(latents)  # whose factors are applied in float32
    assert images.dtype == torch.float32
    assert torch.equal(images, expected.clamp(-1, 1))


def test_a_gpu_is_used_as_published_networks_use_it(monkeypatch):
    """Its seconds would otherwise be those of full float32: the adapter is bfloat16, float32 products are TF32."""
    asked, moved = [], []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    monkeypatch.setattr(contract, "native_bf16", lambda: True)
    monkeypatch.setattr(LatentUpscaler, "to", lambda self, *where: moved.append(where) or self)
    assert World(device="cpu").adapter
    assert World(device="cuda").adapter
    assert asked == ["high"]
    assert moved == [("cpu", torch.float32), ("cuda", torch.bfloat16)]
