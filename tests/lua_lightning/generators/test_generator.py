import inspect
import json

import pytest
import torch
from diffusers import AutoPipelineForImage2Image, FluxControlNetPipeline, FluxKontextPipeline

from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import _unnamed
from lua_lightning.generators.generator import Generator, settled
from lua_lightning.models.codec import LatentCodec
from tests.lua_lightning.generators.more_pipelines import OTHERS
from tests.lua_lightning.generators.pipelines import CLASSES, pipeline


@pytest.fixture(scope="module", params=CLASSES)
def saved(request, tmp_path_factory):
    """The name of a pipeline's class and the folder that one was saved to."""
    pipe = pipeline(request.param)
    folder = tmp_path_factory.mktemp("pipelines") / request.param
    pipe.save_pretrained(folder)
    return request.param, folder


def test_latents_of_every_class_decode_to_the_pipelines_own_image(saved):
    """Unpacking, shift and scale are right when the codec shows what the pipeline shows."""
    name, folder = saved
    generator = Generator.from_pretrained(str(folder))
    latents = generator.latents(["a lake"], [7], 64, 96, steps=2)
    assert latents.shape[-2:] == (8, 12)
    images = generator.codec.decode(latents)
    facts = generator.facts
    expected = generator.pipe(
        prompt="a lake",
        **({"negative_prompt": facts.negative_prompt} if facts.negative_prompt else {}),
        height=64,
        width=96,
        num_inference_steps=2,
        guidance_scale=facts.guidance_scale,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    ).images
    assert float((images.clamp(-1, 1) - (2 * expected - 1)).abs().max()) < 1e-4, name


def test_an_image_depends_on_its_own_seed_alone(saved):
    generator = Generator.from_pretrained(str(saved[1]))
    both = generator.latents(["a lake", "a hill"], [1, 2], 64, 64, steps=2)
    alone = generator.latents(["a hill"], [2], 64, 64, steps=2)
    assert both[1:].equal(alone)
    assert not both[:1].equal(alone)


@pytest.mark.parametrize("name", OTHERS)
def test_a_class_that_nobody_listed_is_sampled_too(name):
    """Its latents are what its own decoder would get; steps and guidance are its call's own."""
    pipe = OTHERS[name]()
    generator = Generator(pipe, LatentCodec.of(pipe.vae, name), _unnamed(name, name))
    parameters = inspect.signature(pipe.__call__).parameters
    assert generator.facts.steps == parameters["num_inference_steps"].default
    latents = generator.latents(["a lake", "a hill"], [7, 8], 64, 96, steps=2)
    down = generator.codec.downscale
    assert latents.shape == (2, generator.codec.channels, 64 // down, 96 // down)
    assert latents.dtype == torch.float32
    images = generator.codec.decode(latents[:1])
    right = pipe(**generator.call("a lake", 7, 2), height=64, width=96, output_type="pt")[0]
    assert float((images.clamp(-1, 1) / 2 + 0.5 - right).abs().max()) < 1e-4
    assert images.std() > 1e-3
    assert not latents[:1].equal(latents[1:])


def test_the_guidance_goes_where_a_pipeline_takes_it():
    """Qwen-Image has `guidance_scale` for distilled weights only, and needs a negative prompt to be guided at all."""
    calls = {
        name: Generator(pipe, LatentCodec.of(pipe.vae, name), _unnamed(name, name)).call("a lake", 7)
        for name, pipe in ((name, build()) for name, build in OTHERS.items())
    }
    assert calls["QwenImagePipeline"]["true_cfg_scale"] == 4.0
    assert calls["QwenImagePipeline"]["negative_prompt"] == " "
    assert "guidance_scale" not in calls["QwenImagePipeline"]
    assert calls["Flux2KleinPipeline"]["guidance_scale"] == 4.0
    assert calls["StableDiffusionPipeline"]["guidance_scale"] == 7.5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (FluxKontextPipeline, "does not make images of a prompt alone"),
        (FluxControlNetPipeline, "does not make images of a prompt alone"),
        (AutoPipelineForImage2Image, "does not make images of a prompt alone"),
    ],
)
def test_a_pipeline_that_wants_a_picture_is_refused_before_it_is_loaded(kind, said, tmp_path):
    name = "FluxImg2ImgPipeline" if kind is AutoPipelineForImage2Image else kind.__name__
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(UserError, match=f"is a {name}, which {said}") as caught:
        Generator.from_pretrained(str(tmp_path))
    assert len(str(caught.value).splitlines()) == 1


class Without:
    """A loaded pipeline that lacks something."""

    def __init__(self, call, vae=True):
        self.vae = torch.nn.Identity() if vae else None
        type(self).__call__ = call


def needs_a_picture(self, prompt, picture, height=8, width=8, num_inference_steps=1, generator=None, output_type=""):
    pass


def needs_no_size(self, prompt, num_inference_steps=1, generator=None, output_type=""):
    pass


@pytest.mark.parametrize(
    ("pipe", "said"),
    [
        (Without(needs_a_picture, vae=False), r"has no autoencoder \(`vae`\)"),
        (type("Second", (Without,), {})(needs_a_picture), "needs picture beside the prompt"),
        (type("Third", (Without,), {})(needs_no_size), "is not called with height, width"),
    ],
)
def test_a_pipeline_whose_call_does_not_fit_is_refused(pipe, said):
    with pytest.raises(UserError, match=f"{said}: a text-to-image pipeline is needed"):
        settled(_unnamed("mine", "mine"), pipe)


@pytest.mark.parametrize(
    ("height", "seeds", "match"), [(60, [1], "multiples of 16"), (64, [1, 2], "1 prompts need as many seeds, not 2")]
)
def test_what_cannot_be_sampled_is_refused(height, seeds, match, tmp_path):
    pipe = pipeline("StableDiffusionXLPipeline")
    pipe.save_pretrained(tmp_path / "pipe")
    with pytest.raises(UserError, match=match):
        Generator.from_pretrained(str(tmp_path / "pipe")).latents(["a"], seeds, height, 64)


def test_a_damaged_folder_is_named(tmp_path):
    pipeline("StableDiffusionXLPipeline").save_pretrained(tmp_path / "pipe")
    (tmp_path / "pipe/unet/config.json").unlink()
    with pytest.raises(UserError, match=r"cannot be loaded from .*pipe"):
        Generator.from_pretrained(str(tmp_path / "pipe"))
