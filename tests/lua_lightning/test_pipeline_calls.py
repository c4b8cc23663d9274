"""`UpscaledPipeline` is called as the pipeline that it wraps: at scale 1 it returns what that pipeline returns."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
)
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pipeline import UpscaledPipeline
from tests.lua_lightning.generators.pipelines import CLASSES, cpu_as_accelerator, pipeline
from tests.lua_lightning.models.autoencoders import build

SIZE = {"height": 64, "width": 96}
SHORT = {"num_inference_steps": 1, "output_type": "np"}


@pytest.fixture(scope="module")
def identity():
    """An adapter that enlarges by any scale and begins as the bicubic enlargement: at scale 1 as nothing at all."""
    settings = {"channels": 4, "head": "liif", "skip": "bicubic", "depths": (1,)}
    return LatentUpscaler(AdapterConfig.sized("tiny", **settings)).eval()


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def outcome(pipe, *args, **kwargs):
    """Return the images of a call as an array (N, H, W, 3) in [0, 1], and the type of what came back."""
    result = pipe(*args, generator=torch.Generator().manual_seed(3), **kwargs)
    images = result[0] if isinstance(result, tuple) else result.images
    if isinstance(images, torch.Tensor):
        images = images.permute(0, 2, 3, 1).float().numpy()
    if not isinstance(images, np.ndarray):
        images = np.stack([np.asarray(image) for image in images]) / 255
    return images, type(result)


def assert_same(pipe, adapter, *args, **kwargs):
    right, kind = outcome(pipe, *args, **kwargs)
    ours, our_kind = outcome(UpscaledPipeline(pipe, adapter, 1), *args, **kwargs)
    assert our_kind is kind
    assert ours.shape == right.shape
    assert np.abs(ours - right).max() <= 1.01 / 255
    return right.shape


CALLS = {
    "a batch": {"prompt": ["a lake", "a hill"], "num_images_per_prompt": 2, **SIZE, **SHORT},
    "pil": {"prompt": "a lake", "num_inference_steps": 1, **SIZE},
    "tensors in a tuple": {"prompt": "a lake", **SIZE, **SHORT, "output_type": "pt", "return_dict": False},
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", CLASSES)
def test_every_call_gives_the_pipelines_own_images(name, call, identity):
    shape = assert_same(pipeline(name), identity, **CALLS[call])
    assert shape[0] == (4 if call == "a batch" else 1)


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("StableDiffusionXLPipeline", [None]),
        ("StableDiffusion3Pipeline", [None, None]),
        ("FluxPipeline", [None, None, None, 1.0]),
    ],
)
def test_sizes_may_be_given_by_position(name, before, identity):
    shape = assert_same(pipeline(name), identity, "a lake", *before, 64, 96, **SHORT)
    assert shape == (1, 64, 96, 3)


def test_an_edited_photograph_gives_the_size(identity):
    """FLUX.2 takes its size from the image that it edits."""
    pipe = pipeline("Flux2Pipeline")
    shape = assert_same(pipe, identity, image=photo(), prompt="a lake", **SHORT)
    assert UpscaledPipeline(pipe, identity, 2)(image=photo(), prompt="a lake", **SHORT).images.shape == (
        1, 2 * shape[1], 2 * shape[2], 3,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind"),
    [("StableDiffusionXLPipeline", StableDiffusionXLImg2ImgPipeline), ("FluxPipeline", FluxImg2ImgPipeline)],
)
def test_image_to_image_is_enlarged_too(name, kind, identity):
    pipe = AutoPipelineForImage2Image.from_pipe(pipeline(name))
    assert isinstance(pipe, kind)
    pipe.set_progress_bar_config(disable=True)
    size = SIZE if kind is FluxImg2ImgPipeline else {}
    assert_same(
        pipe, identity, prompt="a lake", image=photo(), strength=0.9, **size, **{**SHORT, "num_inference_steps": 2}
    )


def test_a_class_of_pipeline_that_nobody_listed_works(identity):
    """FLUX.2 Klein: what counts is that it decodes by an autoencoder that is known."""
    torch.manual_seed(0)
    transformer = Flux2Transformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=24, timestep_guidance_channels=32, axes_dims_rope=[4, 4, 4, 4],
    )  # fmt: skip
    pipe = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(), vae=build("AutoencoderKLFlux2"), text_encoder=None, tokenizer=None,
        transformer=transformer.eval(), is_distilled=True,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    assert_same(pipe, identity, prompt_embeds=torch.randn(1, 5, 24), **SIZE, **SHORT)


def test_callbacks_see_and_change_the_latents(identity):
    steps = []

    def halve(pipe, step, time, values):
        steps.append(step)
        return {"latents": values["latents"] / 2}

    call = {"prompt": "a lake", **SIZE, **SHORT, "num_inference_steps": 2, "callback_on_step_end": halve}
    assert_same(pipeline("FluxPipeline"), identity, **call)
    assert steps == [0, 1, 0, 1]


@pytest.mark.parametrize("name", ["StableDiffusionXLPipeline", "Flux2Pipeline"])
def test_tiles_and_slices_of_the_autoencoder_stay_as_the_user_set_them(name, identity):
    pipe = pipeline(name)
    pipe.vae.enable_tiling()
    pipe.vae.enable_slicing()
    before = {key: value for key, value in vars(pipe.vae).items() if not key.startswith("_")}
    training = [weight.requires_grad for weight in pipe.vae.parameters()]
    assert_same(pipe, identity, prompt=["a lake", "a hill"], **SIZE, **SHORT)
    assert {key: value for key, value in vars(pipe.vae).items() if not key.startswith("_")} == before
    assert [weight.requires_grad for weight in pipe.vae.parameters()] == training


@pytest.mark.parametrize("offload", ["model", "sequential"])
@pytest.mark.parametrize("name", CLASSES)
def test_offloaded_pipelines_keep_their_hooks(name, offload, identity, monkeypatch):
    cpu_as_accelerator(monkeypatch)
    pipe = pipeline(name)
    right, _ = outcome(pipe, prompt="a lake", **SIZE, **SHORT)
    if offload == "sequential":
        pipe.enable_sequential_cpu_offload(device="cpu")
        assert {weight.device.type for weight in pipe.vae.parameters()} == {"meta"}
    else:
        pipe.enable_model_cpu_offload(device="cpu")
    parts = [
        module for part in pipe.components.values() if isinstance(part, torch.nn.Module) for module in part.modules()
    ]
    hooks, homes = [hasattr(module, "_hf_hook") for module in parts], [where(module) for module in parts]
    assert any(hooks)
    upscaled = UpscaledPipeline(pipe, identity, 1)
    ours, _ = outcome(upscaled, prompt="a lake", **SIZE, **SHORT)
    assert np.abs(ours - right).max() <= 1.01 / 255
    again, _ = outcome(upscaled, prompt="a lake", **SIZE, **SHORT)  # nothing was left behind by the first call
    assert np.array_equal(again, ours)
    assert [hasattr(module, "_hf_hook") for module in parts] == hooks
    assert [where(module) for module in parts] == homes
    assert {weight.device.type for weight in identity.parameters()} == {"cpu"}


def where(module: torch.nn.Module) -> list[str]:
    return [weight.device.type for weight in module.parameters(recurse=False)]


@pytest.mark.parametrize("name", CLASSES)
def test_a_broken_latent_is_an_error_and_leaves_the_pipeline_whole(name, identity):
    pipe = pipeline(name)
    broken = {"callback_on_step_end": lambda pipe, step, time, values: {"latents": values["latents"] * torch.nan}}
    with pytest.raises(UserError, match="not finite"):
        UpscaledPipeline(pipe, identity, 1)(prompt="a lake", **SIZE, **SHORT, **broken)
    assert "decode" not in vars(pipe.vae)
    assert_same(pipe, identity, prompt="a lake", **SIZE, **SHORT)
