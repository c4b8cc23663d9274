"""Sizes other than the adapter's scales, other methods, and saved latents."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from lua_lightning import UpscaledPipeline, UserError, upscale_image
from lua_lightning.cli import main
from lua_lightning.latent_files import read_latents, write_latents
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pictures import Picture
from lua_lightning.pipeline import load_pair, upscale_latents
from lua_lightning.pixel_upscalers import find_pixel_upscaler
from lua_lightning.sizes import target
from lua_lightning.upscaling import PIXEL_TILE, LatentWay, PixelWay, encode_pixels, enlarge, round_trip_psnr
from tests.lua_lightning.generators.pipelines import pipeline


@pytest.fixture(scope="module")
def adapter_folder(tmp_path_factory):
    torch.manual_seed(0)
    model = LatentUpscaler(AdapterConfig(channels=4, embed_dim=8, depths=(1,), num_heads=1, window_size=4, head_dim=8))
    for head in model.heads.children():
        torch.nn.init.normal_(head.conv_last.weight, std=0.05)
    folder = tmp_path_factory.mktemp("adapter") / "small"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def models(adapter_folder, codec_folder):
    return ["--adapter", str(adapter_folder), "--codec", str(codec_folder), "--device", "cpu"]


@pytest.fixture
def pair(adapter_folder, codec_folder):
    return load_pair(adapter_folder, codec_folder, device="cpu")


def pixels(width: int, height: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(width).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(pixels(60, 40)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.parametrize(
    ("asked", "scale", "whole", "size"),
    [
        (["--scale", "3"], 4, (180, 120), (180, 120)),
        (["--scale", "1.25"], 2, (75, 50), (75, 50)),
        (["--size", "100x100"], 2, (100, 67), (100, 67)),
        (["--size", "100x100", "--fit", "crop"], 4, (150, 100), (100, 100)),
        (["--megapixels", "0.02"], 4, (173, 115), (173, 115)),
    ],
)
def test_the_result_is_the_enlargement_reduced_and_cut(
    tmp_path, photo, pair, models, asked, scale, whole, size, capsys
):
    assert main(["upscale", str(photo), "-o", str(tmp_path / "out.png"), *asked, *models]) == 0
    expected = enlarge(*pair, Picture(pixels(60, 40)), scale).resize(whole, Image.Resampling.BICUBIC)
    left, top = (whole[0] - size[0]) // 2, (whole[1] - size[1]) // 2
    expected = expected.crop((left, top, left + size[0], top + size[1]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(expected))
    assert f"60x40 -> {size[0]}x{size[1]}" in capsys.readouterr().out


def test_upscale_image_and_the_pipeline_take_the_same_sizes(pair):
    adapter, codec = pair
    settings = {"adapter": adapter, "codec": codec, "device": "cpu"}
    assert upscale_image(pixels(60, 40), **settings).size == (120, 80)
    assert upscale_image(pixels(60, 40), size=(100, 100), fit="crop", **settings).size == (100, 100)
    pipe = pipeline("StableDiffusionXLPipeline")
    call = {"prompt": "a lake", "height": 64, "width": 96, "num_inference_steps": 1, "output_type": "pt"}
    images = [
        UpscaledPipeline(pipe, adapter, *scale, **asked)(**call, generator=torch.Generator().manual_seed(0)).images
        for scale, asked in (
            ((4,), {}),
            ((3,), {}),
            ((), {"size": (250, 250), "fit": "crop"}),
            ((), {"megapixels": 0.02}),
        )
    ]
    assert [tuple(image.shape[-2:]) for image in images] == [(256, 384), (192, 288), (250, 250), (115, 173)]
    reduced = torch.nn.functional.interpolate(images[0], (192, 288), mode="bicubic", antialias=True)
    torch.testing.assert_close(images[1], reduced.clamp(0, 1), atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="ask for scale=2 or 4"):
        UpscaledPipeline(pipe, adapter, 3)(**{**call, "output_type": "latent"})
    with pytest.raises(UserError, match="96x64 pixels would have to become 10"):
        UpscaledPipeline(pipe, adapter, size=(1000, 1000))(**call)
    UpscaledPipeline(pipe, adapter, 2)(**call)  # a refusal left the pipeline as it was


def test_transparency_is_cut_and_reduced_with_the_picture(tmp_path, models):
    alpha = pixels(60, 40, 4)
    alpha[..., 3] = np.linspace(0, 255, 60)[None]
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    crop = ["--size", "60x60", "--fit", "crop"]
    assert main(["upscale", str(tmp_path / "alpha.png"), "-o", str(tmp_path / "out.png"), *crop, *models]) == 0
    with Image.open(tmp_path / "out.png") as result:
        assert (result.size, result.mode) == ((60, 60), "RGBA")
        found = np.asarray(result)[30, :, 3].astype(float)
    np.testing.assert_allclose(found, np.linspace(0, 255, 90)[15:75], atol=3)


def test_a_folder_names_its_results_by_the_size(tmp_path, models):
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels(60, 40)).save(tmp_path / "in" / "a.png")
    Image.fromarray(pixels(10, 10)).save(tmp_path / "in" / "small.png")
    command = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *models]
    assert main([*command, "--size", "100x100"]) == 1  # 10 pixels cannot become 100
    assert main([*command, "--megapixels", "0.001"]) == 0
    assert main([*command, "--scale", "1.5"]) == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    endings = ("0.001mp", "x1.5")
    assert names == {"a_100x100.png", *(f"{stem}_{ending}.png" for stem in ("a", "small") for ending in endings)}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--size", "100"], "'100' is no size"),
        (["--size", "1x1", "--scale", "2"], "--scale and --size both say"),
        (["--fit", "crop"], "give --size too"),
        (["--megapixels", "0"], "--megapixels 0"),
        (["--scale", "two"], "invalid float"),
        (["--scale", "4.01"], "at most 4 times"),
        (["--method", "bicubik"], "did you mean 'bicubic'"),
        (["--latents", "x.npy"], "are both given"),
    ],
)
def test_mistakes_are_one_sentence(photo, models, asked, said, capsys, monkeypatch):
    monkeypatch.chdir(photo.parent)
    assert main(["upscale", "photo.png", "-o", "out.png", *asked, *models]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (photo.parent / "out.png").exists()


def test_bicubic_is_pillows(tmp_path, photo):
    assert main(["upscale", str(photo), "-o", str(tmp_path / "out.png"), "--method", "bicubic", "--scale", "5"]) == 0
    expected = Image.fromarray(pixels(60, 40)).resize((300, 200), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(expected))


@pytest.mark.parametrize("name", ["dat-light", "swinir"])
def test_the_networks_of_the_baselines_enlarge_pixels(tmp_path, photo, name, capsys):
    assert main(["upscale", str(photo), "-o", str(tmp_path / "out.png"), "--method", name, "--size", "100x67"]) == 0
    upscaler = find_pixel_upscaler(name)
    assert upscaler is not None
    image = torch.from_numpy(pixels(60, 40)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.inference_mode():
        direct = upscaler.load("cpu")(image, 2)
    assert direct.shape == (1, 3, 80, 120)
    levels = ((direct[0] + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    expected = Image.fromarray(levels).resize((100, 67), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png")), np.asarray(expected))
    assert "adapter is made for latents" not in capsys.readouterr().err


def test_a_pixel_network_works_in_tiles_that_leave_no_seam():
    class Whole:
        scales = (2,)
        sides: list[int]

        def load(self, device):
            self.sides = []
            return self.twice

        def twice(self, images, scale):
            self.sides.append(max(images.shape[-2:]))
            return torch.nn.functional.interpolate(images, scale_factor=scale, mode="nearest")

    network, size = Whole(), PIXEL_TILE + 40
    way, picture = PixelWay(network), Picture(pixels(size, 40))  # pyright: ignore
    image, _ = way.enlarge(picture, way.plan(size, 40, target(2)))
    np.testing.assert_array_equal(np.asarray(image), picture.pixels.repeat(2, 0).repeat(2, 1))
    assert max(network.sides) == PIXEL_TILE


def test_the_autoencoders_own_loss_is_told(tmp_path, photo, pair, models, capsys):
    assert main(["upscale", str(photo), "-o", str(tmp_path / "out.png"), *models]) == 0
    _, codec = pair
    image = torch.from_numpy(pixels(60, 40)).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        decoded = codec.decode(codec.encode(torch.nn.functional.pad(image, (0, 4, 0, 0), mode="replicate")))
    levels = ((decoded[0, :, :40, :60] + 1) * 127.5).round().clamp(0, 255).permute(1, 2, 0).double().numpy()
    expected = 10 * math.log10(255**2 / ((levels - pixels(60, 40)) ** 2).mean())
    said = capsys.readouterr()
    assert f"alone keeps {expected:.1f} dB of the picture" in said.out
    assert "--method bicubic" in said.err


def test_the_loss_of_large_pictures_is_measured_in_bands(pair):
    large = pixels(300, 333)
    _, codec = pair
    whole, parts = (
        round_trip_psnr(codec, encode_pixels(codec, large, 64), large, side) for side in (64, 32)
    )  # tiles blend, and differ a little
    assert whole == pytest.approx(parts, abs=0.3)
    assert (
        LatentWay(*pair, tell_loss=False).enlarge(Picture(large), LatentWay(*pair).plan(300, 333, target(2)))[1] == ""
    )


@pytest.fixture
def latents():
    return torch.randn(1, 4, 6, 9, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("space", ["normalised", "raw"])
def test_saved_latents_become_an_image_or_latents(tmp_path, pair, models, latents, suffix, space, capsys):
    adapter, codec = pair
    given = tmp_path / f"given{suffix}"
    write_latents(given, codec.denormalise(latents) if space == "raw" else latents)
    command = ["upscale", "--latents", str(given), "--space", space, *models]
    assert main([*command, "-o", str(tmp_path / f"out{suffix}")]) == 0
    expected = upscale_latents(adapter, codec, latents, 2)
    as_given = codec.denormalise(expected) if space == "raw" else expected
    torch.testing.assert_close(read_latents(tmp_path / f"out{suffix}"), as_given, atol=1e-4, rtol=1e-4)
    assert main([*command, "-o", str(tmp_path / "out.png"), "--size", "100x100"]) == 0
    assert "72x48 -> 100x67" in capsys.readouterr().out
    with torch.no_grad():
        image = codec.decode(expected)[0]
    levels = ((image + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    reduced = Image.fromarray(levels).resize((100, 67), Image.Resampling.BICUBIC)
    difference = np.asarray(Image.open(tmp_path / "out.png")).astype(int) - np.asarray(reduced)
    assert np.abs(difference).max() <= 1


def test_packed_latents_stay_packed(tmp_path, pair, models, latents):
    adapter, codec = pair
    latents = latents[..., :8]
    save_file({"samples": torch.nn.functional.pixel_unshuffle(latents, 2)}, tmp_path / "flux2.safetensors")
    out = tmp_path / "out.safetensors"
    assert main(["upscale", "--latents", str(tmp_path / "flux2.safetensors"), "-o", str(out), *models]) == 0
    expected = torch.nn.functional.pixel_unshuffle(upscale_latents(adapter, codec, latents, 2), 2)
    torch.testing.assert_close(load_file(out)["latents"], expected)


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("x.npy", np.zeros((1, 4, 6, 9, 1, 1), np.float32), [], "shape 1x4x6x9x1x1"),
        ("x.npy", np.array([{}]), [], "cannot be read as an array of numbers"),
        ("x.npy", np.full((4, 6, 6), np.nan, np.float32), [], "not finite"),
        ("x.npy", np.zeros((3, 6, 6), np.float32), [], "3 channels"),
        ("x.npy", np.zeros((2, 4, 6, 6), np.float32), [], "holds 2 latents"),
        ("x.npy", None, [], "does not exist"),
        ("x.npz", None, [], "must be one of .safetensors, .npy"),
        ("x.safetensors", json.dumps({}), [], "cannot be read"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["-o", "o.npy", "--scale", "3"], "ask for --scale 2 or --scale 4"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["--method", "bicubic"], "enlarges pixels, not latents"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["-o", "x.npy"], "is the input itself"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["-o", "there.png"], "there already"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["-o", "o.tif"], "suffix must be one of .png"),
        ("x.npy", np.zeros((4, 6, 6), np.float32), ["--scale", "5"], "at most 4 times"),
    ],
)
def test_latents_that_cannot_be_used(tmp_path, models, name, content, options, said, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").touch()
    if isinstance(content, str):
        (tmp_path / name).write_text(content)
    elif content is not None:
        np.save(tmp_path / name, content)
    output = [] if "-o" in options else ["-o", "out.png"]
    assert main(["upscale", "--latents", name, *output, *options, *models]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_nothing_to_enlarge_is_a_mistake(capsys):
    assert main(["upscale", "-o", "out.png"]) == 2
    assert "there is nothing to enlarge" in capsys.readouterr().err


def test_a_codec_of_the_zoo_measures_a_real_picture():
    codec = LatentCodec.from_pretrained("tiny-d16")
    steps = np.linspace(0, 255, 96).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(steps[:, None], steps[None, :], np.uint8(90)), -1)
    assert 25 < round_trip_psnr(codec, encode_pixels(codec, picture, 64), picture, 64) < 60
