"""What precision the methods work in."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from baselines import contract
from baselines.contract import World
from benchmarks.benchmark import Benchmark
from benchmarks.config import BenchConfig
from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import OFFLOADS
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from tests.lua_lightning.generators.pipelines import cpu_as_accelerator, pipeline
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


@pytest.mark.parametrize("name", ["tiny-sdxl", "Flux2Pipeline"])
def test_an_offloaded_generator_makes_the_same_images(name, tmp_path, monkeypatch):
    """`offload=` of a benchmark, with the CPU in the GPU's place: "cpu:0" is another name for it."""
    cpu_as_accelerator(monkeypatch)
    if name != "tiny-sdxl":
        pipeline(name).save_pretrained(tmp_path / "pipe")
    images = {}
    for offload in OFFLOADS:
        config = BenchConfig(generator=name if name == "tiny-sdxl" else str(tmp_path / "pipe"), offload=offload)
        benchmark: Any = SimpleNamespace(config=config, steps=1)
        world = Benchmark.world(benchmark, "cpu:0")
        vae = world.generator.pipe.vae
        assert ({weight.device.type for weight in vae.parameters()} == {"meta"}) == (offload == "sequential")
        assert any(hasattr(module, "_hf_hook") for module in vae.modules()) == (offload != "none")
        images[offload] = world.decode(world.start("a lake", 7, 64).latents)
    assert images["none"].shape == (1, 3, 64, 64)
    for offload in OFFLOADS:
        torch.testing.assert_close(images[offload], images["none"], atol=1e-4, rtol=0, msg=offload)


def test_there_is_nothing_to_offload_from_on_a_cpu():
    with pytest.raises(UserError, match="needs a GPU to offload from"):
        assert World(device="cpu", offload="model").generator
