"""What only an accelerator can show; run with `make gpu-check`, or `pytest -m gpu` on a machine that has one."""

import dataclasses

import pytest
import torch

from lua_lightning.config import CacheConfig, RunConfig, load_config
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pipeline import UpscaledPipeline
from lua_lightning.training.train import train
from tests.lua_lightning.generators.pipelines import CLASSES, pipeline
from tests.lua_lightning.models.autoencoders import KINDS
from tests.lua_lightning.models.test_precision import DTYPES, EMBEDDED, TINY, images, model

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")]


@pytest.mark.parametrize("kind", [*KINDS, EMBEDDED, TINY])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_codec_computes_on_the_gpu_what_it_computes_on_the_cpu(kind, dtype):
    exact = LatentCodec.of(model(kind), kind)
    latents = exact.encode(images())
    codec = LatentCodec.of(model(kind).to(dtype), kind).to("cuda")
    encoded = codec.encode(images().cuda().to(dtype)).cpu()
    assert (encoded - latents).abs().mean() <= 0.05 * latents.abs().mean()
    with torch.no_grad():
        right, ours = exact.decode(latents), codec.decode(latents.cuda()).cpu()
    assert (ours - right).abs().mean() <= 0.05 * right.abs().mean()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", ["tiny", "light"])
def test_an_adapter_computes_on_the_gpu_what_it_computes_on_the_cpu(size, dtype):
    torch.manual_seed(0)
    adapter = LatentUpscaler(AdapterConfig.sized(size, channels=16, skip="linear")).eval()
    torch.nn.init.normal_(adapter.heads["x2"].conv_last.weight, std=0.05)
    latents = torch.randn(2, 16, 40, 24)
    with torch.no_grad():
        right = adapter(latents, 2)
        ours = adapter.to("cuda", dtype)(latents.cuda(), 2)
    assert ours.dtype == torch.float32
    assert (ours.cpu() - right).abs().mean() <= 0.02 * right.abs().mean()


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_pipeline_in_half_precision_keeps_its_colours(name, dtype):
    torch.manual_seed(0)
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4)).eval()
    call = {"prompt": "a lake", "height": 64, "width": 64, "num_inference_steps": 1, "output_type": "latent"}
    pipe = pipeline(name).to("cuda", dtype)
    latents = UpscaledPipeline(pipe, adapter.to(dtype), 2)(**call).images
    half = UpscaledPipeline(pipe, adapter, 2).codec
    with torch.no_grad():
        ours = half.decode(latents)
        right = LatentCodec.of(pipe.vae.float(), name).to("cuda").decode(latents)
    assert torch.isfinite(ours).all()
    assert (ours - right).abs().mean() <= 0.05 * right.abs().mean()


def test_pairs_encoded_in_batches_on_the_gpu_are_the_cpus(photo_folder, codec_folder, tmp_path):
    photos = PhotoSet.load(photo_folder)
    config = CacheConfig(crop_px=64, crops_per_photo=3, folder=str(tmp_path / "cpu"), dtype="float32")
    expected = PairDataset(build_cache(config, photos, LatentCodec.from_pretrained(codec_folder)), "train")
    on_gpu = dataclasses.replace(config, folder=str(tmp_path / "gpu"))
    ours = PairDataset(build_cache(on_gpu, photos, LatentCodec.from_pretrained(codec_folder).to("cuda")), "train")
    assert len(ours) == len(expected)
    for n in range(len(ours)):
        for name in ("hr", "lr_x2", "lr_x4"):
            torch.testing.assert_close(ours[n][name], expected[n][name], atol=2e-2, rtol=1e-2)


def test_a_training_runs_on_the_gpu_and_lowers_its_loss(settings):
    config = load_config(
        RunConfig,
        None,
        [*settings, "loss.latent_l1=1", "train.steps=30", "validation.every=30", "train.accelerator=gpu"],
    )
    results = train(config)
    assert results["steps"] == 30
    assert results["val/x2/psnr"] > 10
