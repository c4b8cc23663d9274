"""The ComfyUI node pack computes what the library computes, in ComfyUI's forms of latents, and says what is wrong."""

import json
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.comfyui_file import write_comfyui_file
from lua_lightning.pipeline import upscale_latents
from lua_lightning.sizes import plan_size, target
from lua_lightning.zoo import ZOO
from tests.comfyui.conftest import adapter, noise
from tests.comfyui.standins import PACK, OutOfMemory, ProgressBar, workflow

ROOT = Path(__file__).parents[2]


def test_the_vendored_network_is_the_librarys():
    library = ROOT / "lua_lightning" / "models"
    network = (library / "network.py").read_text().replace("from lua_lightning.models.windows", "from .windows")
    mend = "run `make comfyui-network`"
    assert (PACK / "network.py").read_text() == network, mend
    assert (PACK / "windows.py").read_text() == (library / "windows.py").read_text(), mend
    for path in PACK.glob("*.py"):
        assert "lua_lightning." not in path.read_text(), path


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize(("height", "width"), [(12, 16), (5, 13), (1, 3)])
def test_a_raw_adapter_is_given_the_latents_as_they_are(run, models, scale, height, width):
    model, samples = adapter("flux", "raw"), noise(2, 4, height, width)
    write_comfyui_file(models / "raw.safetensors", model)
    result, *size = run("raw.safetensors", samples, scale=scale)
    with torch.no_grad():
        torch.testing.assert_close(result["samples"], model(samples, scale), atol=1e-5, rtol=1e-5)
    assert size == [width * 8 * scale, height * 8 * scale]


def test_a_zoo_folder_with_its_autoencoder_is_the_librarys_upscaling(run, models):
    codec, model = LatentCodec.from_pretrained("tiny-d16"), LatentUpscaler.from_pretrained("lua-tiny-d16")
    write_comfyui_file(models / "tiny.safetensors", model, codec)
    latents = noise(1, 16, 20, 24)
    result, *_ = run("tiny.safetensors", codec.denormalise(latents))
    expected = codec.denormalise(upscale_latents(model, codec, latents, 2))
    torch.testing.assert_close(result["samples"], expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("codec", "shift", "scale"), [("sdxl", 0, 0.13025), ("taesd3", 0.0609, 1.5305), ("flux", 0.1159, 0.3611)]
)
def test_known_families_are_normalised_for_the_adapter(run, models, codec, shift, scale):
    model, samples = adapter(codec), 3 * noise(1, 4, 8, 8)
    write_comfyui_file(models / "a.safetensors", model)
    with torch.no_grad():
        expected = model((samples - shift) * scale, 2) / scale + shift
    torch.testing.assert_close(run("a.safetensors", samples)[0]["samples"], expected, atol=1e-4, rtol=1e-4)


def test_flux2_latents_are_packed_and_normalised_already(run, models):
    model, samples = adapter("taef2", channels=8), noise(1, 32, 6, 9)
    write_comfyui_file(models / "a.safetensors", model)
    result, *size = run("a.safetensors", samples)
    with torch.no_grad():
        expected = F.pixel_unshuffle(model(F.pixel_shuffle(samples, 2), 2), 2)
    torch.testing.assert_close(result["samples"], expected, atol=1e-5, rtol=1e-5)
    assert size == [9 * 16 * 2, 6 * 16 * 2]


def test_video_is_enlarged_frame_by_frame(run, models):
    model, samples = adapter("wan", "raw"), noise(2, 4, 3, 8, 12)
    write_comfyui_file(models / "a.safetensors", model)
    result, *_ = run("a.safetensors", samples)
    assert result["samples"].shape == (2, 4, 3, 16, 24)
    for frame in range(3):
        with torch.no_grad():
            expected = model(samples[:, :, frame], 2)
        torch.testing.assert_close(result["samples"][:, :, frame], expected, atol=1e-5, rtol=1e-5)


class Wan21:
    """A latent format with a factor for each channel, as ComfyUI has them."""

    mean, deviation = torch.tensor([0.1, -0.2, 0.3, 0.0]).view(1, 4, 1, 1, 1), torch.tensor(2.0)

    def process_in(self, latent):
        return (latent - self.mean) / self.deviation

    def process_out(self, latent):
        return latent * self.deviation + self.mean


class SDXL:
    """The name of another latent format."""


class Model:
    def __init__(self, latent_format):
        self.latent_format = latent_format

    def get_model_object(self, name):
        return getattr(self, name)


def test_a_connected_model_says_how_unknown_latents_are_normalised(run, models):
    model, samples = adapter("someone/wan-vae"), noise(1, 4, 2, 8, 8)
    write_comfyui_file(models / "a.safetensors", model)
    with pytest.raises(ValueError, match="connect the model that made the latents"):
        run("a.safetensors", samples)
    form = Wan21()
    result, *_ = run("a.safetensors", samples, model=Model(form))
    inner = form.process_in(samples).transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        expected = form.process_out(model(inner, 2).unflatten(0, (1, -1)).transpose(1, 2))
    torch.testing.assert_close(result["samples"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("codec", "shape", "model", "said"),
    [
        ("sdxl", (1, 16, 8, 8), None, "16 channels, as those of SD3, FLUX.1, Wan 2.1 and Qwen-Image, but this adapter"),
        ("taef2", (1, 4, 8, 8), None, r"4 channels, as those of SD 1.5 and SDXL, .* works on 16"),
        ("sdxl", (4, 8, 8), None, "no images and no video"),
        ("flux", (1, 4, 8, 8), Model(SDXL()), "the connected model makes SDXL latents"),
    ],
)
def test_latents_of_another_model_are_refused(run, models, codec, shape, model, said):
    write_comfyui_file(models / "a.safetensors", adapter(codec))
    with pytest.raises(ValueError, match=said):
        run("a.safetensors", noise(*shape), model=model)


def test_what_is_no_adapter_is_refused(run, models):
    save_file({"in_conv.conv.weight": torch.zeros(1)}, models / "hunyuan.safetensors")
    with pytest.raises(ValueError, match=r"hunyuan.safetensors holds no LUA adapter"):
        run("hunyuan.safetensors", noise(1, 4, 8, 8))
    tensors = adapter("sdxl").state_dict()
    tensors.pop("norm.bias")
    save_file(tensors, models / "cut.safetensors", {"lua_config": json.dumps(vars(adapter("sdxl").config))})
    with pytest.raises(ValueError, match=r"1 tensors differ, such as norm.bias"):
        run("cut.safetensors", noise(1, 4, 8, 8))
    with pytest.raises(UserError, match="liif head cannot be used in ComfyUI"):
        write_comfyui_file(models / "liif.safetensors", adapter("sdxl", head="liif"))


def test_a_zoo_folder_can_be_copied_as_it_is(nodes, models, run):
    shutil.copytree(ZOO / "lua-tiny-d4", models / "lua-tiny-d4")
    name = "lua-tiny-d4/diffusion_pytorch_model.safetensors"
    assert name in nodes["LuaLoad"].define_schema().inputs[0].settings["options"]
    with pytest.raises(ValueError, match=r"normalised latents of tiny-d4"):
        run(name, noise(1, 4, 8, 8))


def test_the_authors_bare_weights_are_known_by_their_shapes(run, models):
    model, samples = adapter("flux", "raw", skip="none", mlp_ratio=3.0), noise(1, 4, 8, 8)
    torch.save(model.state_dict(), models / "lua_flux.pth")
    result, *_ = run("lua_flux.pth", samples, scale=4)
    with torch.no_grad():
        torch.testing.assert_close(result["samples"], model(samples, 4), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("tile", "height", "width"), [(64, 100, 129), (96, 65, 150), (8, 88, 66)])
def test_tiles_leave_no_seam(run, models, tile, height, width):
    codec, model = LatentCodec.from_pretrained("tiny-d16"), LatentUpscaler.from_pretrained("lua-tiny-d16")
    write_comfyui_file(models / "tiny.safetensors", model, codec)
    samples = F.interpolate(noise(1, 16, 16, 16), (height, width), mode="bicubic") + 0.3 * noise(1, 16, height, width)
    whole = run("tiny.safetensors", samples)[0]["samples"]
    tiled = run("tiny.safetensors", samples, tile=tile)[0]["samples"]
    assert whole.abs().max() > 4
    assert (tiled - whole).abs().max() < 0.01
    assert ProgressBar.made[0].total == ProgressBar.made[0].count == 1
    assert ProgressBar.made[1].total == ProgressBar.made[1].count > 1


def test_where_memory_is_short_the_tiles_become_smaller(run, models, monkeypatch):
    model, samples = adapter("flux", "raw"), noise(1, 4, 100, 100)
    write_comfyui_file(models / "a.safetensors", model)
    expected = run("a.safetensors", samples)[0]["samples"]

    network = sys.modules["custom_nodes.lua-latent-upscaler.network"].UpscalerNetwork
    forward, sides = network.forward, []

    def small_only(self, latents, scale):
        sides.append(max(latents.shape[-2:]))
        if sides[-1] > 60:
            raise OutOfMemory
        return forward(self, latents, scale)

    monkeypatch.setattr(network, "forward", small_only)
    assert (run("a.safetensors", samples)[0]["samples"] - expected).abs().max() < 0.01
    assert max(sides[1:]) <= 60

    def never(self, latents, scale):
        raise OutOfMemory

    monkeypatch.setattr(network, "forward", never)
    with pytest.raises(OutOfMemory):
        run("a.safetensors", samples)


def test_sizes_are_planned_as_the_library_does(nodes):

    plan = sys.modules["custom_nodes.lua-latent-upscaler.sizes"].plan
    dice = random.Random(0)
    for _ in range(500):
        width, height = dice.randint(1, 999), dice.randint(1, 999)
        size, fit = (dice.randint(1, width * 3), dice.randint(1, height * 3)), dice.choice(["inside", "crop"])
        scale, megapixels = dice.uniform(0.1, 4), width * height * dice.uniform(0.1, 14) / 1e6
        wanted = {
            "scale": target(scale),
            "size": target(size=size, fit=fit),
            "megapixels": target(None, None, megapixels),
        }
        for name in wanted:
            expected = plan_size(width, height, wanted[name], (2, 4))
            assert plan(width, height, (2, 4), name, scale, size, megapixels, fit) == (expected.scale, expected.size)
    with pytest.raises(ValueError, match="at most 4 times"):
        plan(10, 10, (2, 4), "scale", 4.1, (1, 1), 1.0, "inside")


def test_other_sizes_are_enlarged_then_fitted(nodes, run, models):
    model, samples = adapter("flux", "raw"), noise(1, 4, 8, 8)
    write_comfyui_file(models / "a.safetensors", model)
    result, width, height = run("a.safetensors", samples, target="size", width=200, height=100, fit="crop")
    assert (result["samples"].shape[-2:], width, height) == ((32, 32), 200, 100)
    image = torch.rand(1, 256, 256, 3)
    (fitted,) = nodes["LuaFitImage"].execute(image, width, height).values
    whole = F.interpolate(image.movedim(-1, 1), (200, 200), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(fitted, whole[..., 50:150, :].movedim(1, -1))
    (same,) = nodes["LuaFitImage"].execute(image, 256, 256).values
    assert same.equal(image)


def test_the_rest_of_a_latent_is_kept_but_its_mask(run, models):
    write_comfyui_file(models / "a.safetensors", adapter("flux", "raw"))
    given = {"samples": noise(1, 4, 8, 8).bfloat16(), "noise_mask": torch.ones(1), "batch_index": [3]}
    result, *_ = run("a.safetensors", given)
    assert set(result) == {"samples", "batch_index"}
    assert result["samples"].dtype == torch.bfloat16
    assert "noise_mask" in given


def test_the_example_workflow_fits_the_nodes(nodes):
    graph, seen = workflow(), set()
    for node in graph.values():
        for value in node["inputs"].values():
            if isinstance(value, list):
                assert value[0] in graph
        if node["class_type"] in nodes:
            schema = nodes[node["class_type"]].define_schema()
            seen.add(schema.node_id)
            for slot in schema.inputs:
                value = node["inputs"].get(slot.id)
                assert value is not None or slot.settings.get("optional"), slot.id
                if slot.id in ("target", "fit"):
                    assert value in slot.settings["options"]
            assert set(node["inputs"]) == {slot.id for slot in schema.inputs}
    assert seen == set(nodes)


def test_every_widget_has_bounds_and_ids_are_distinct(nodes):
    for node in nodes.values():
        schema = node.define_schema()
        ids = [slot.id for slot in schema.inputs]
        assert len(set(ids)) == len(ids)
        for slot in schema.inputs:
            if slot.kind in ("INT", "FLOAT"):
                assert slot.settings["min"] <= slot.settings["default"] <= slot.settings["max"], slot.id
        assert schema.description.endswith(".")
