import pytest
import torch

from lua_lightning.errors import UserError
from lua_lightning.generators.generator import Generator, unpack
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
    own = generator.pipe(
        prompt="a lake",
        **({"negative_prompt": facts.negative_prompt} if facts.negative_prompt else {}),
        height=64,
        width=96,
        num_inference_steps=2,
        guidance_scale=facts.guidance_scale,
        generator=torch.Generator().manual_seed(7),
        output_type="pt",
    ).images
    assert float((images.clamp(-1, 1) - (2 * own - 1)).abs().max()) < 1e-4, name


def test_an_image_depends_on_its_own_seed_alone(saved):
    generator = Generator.from_pretrained(str(saved[1]))
    both = generator.latents(["a lake", "a hill"], [1, 2], 64, 64, steps=2)
    alone = generator.latents(["a hill"], [2], 64, 64, steps=2)
    assert both[1:].equal(alone)
    assert not both[:1].equal(alone)


def test_unpacking_puts_every_value_of_a_cell_in_its_place():
    packed = torch.arange(2 * 3 * 8.0).view(1, 6, 8)  # 2 channels, cells of 2x2, 2 rows and 3 columns of cells
    latents = unpack(packed, 4, 6)
    for row in range(4):
        for column in range(6):
            for channel in range(2):
                cell = (row // 2) * 3 + column // 2
                assert latents[0, channel, row, column] == packed[0, cell, channel * 4 + (row % 2) * 2 + column % 2]


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
