"""The public names: they load lazily, and `upscale_image` takes what people have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lua_lightning
from lua_lightning import UserError, upscale_image
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.zoo import DEFAULT_ADAPTER

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 28, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def enlarged() -> np.ndarray:
    return np.asarray(upscale_image(PIXELS, device="cpu"))


def heavy_modules_after(code: str) -> str:
    heavy = ("torch", "numpy", "diffusers", "transformers", "mlflow", "lightning", "omegaconf", "rich")
    script = f"import sys\n{code}\nprint([name for name in {heavy} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_and_printing_help_loads_nothing_heavy():
    assert heavy_modules_after("import lua_lightning; dir(lua_lightning); lua_lightning.__version__") == "[]"
    assert heavy_modules_after("from lua_lightning import UserError") == "[]"
    code = "import io, contextlib\nfrom lua_lightning.cli import main\n"
    assert heavy_modules_after(code + "with contextlib.redirect_stdout(io.StringIO()): main([])") == "[]"


def test_every_public_name_is_there_and_documented():
    assert set(lua_lightning.__all__) <= set(dir(lua_lightning))
    for name in lua_lightning.__all__:
        thing = getattr(lua_lightning, name)
        assert ">>>" in thing.__doc__, name
    with pytest.raises(AttributeError, match="upscale_image"):
        lua_lightning.upscale_picture  # noqa: B018


def test_type_information_ships():
    assert (Path(lua_lightning.__file__).parent / "py.typed").is_file()


def test_a_path_a_pillow_image_and_arrays_give_the_same(tmp_path, enlarged):
    assert enlarged.shape == (40, 56, 3)
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    forms = [tmp_path / "photo.png", str(tmp_path / "photo.png"), Image.fromarray(PIXELS), PIXELS / 255]
    for form in forms:
        result = upscale_image(form, device="cpu")
        assert result.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(result), enlarged)


def test_greyscale_is_an_image_too():
    grey = PIXELS[..., 0]
    expected = np.asarray(upscale_image(Image.fromarray(grey), device="cpu"))
    for form in (grey, grey[..., None], np.repeat(grey[..., None], 3, axis=2)):
        np.testing.assert_array_equal(np.asarray(upscale_image(form, device="cpu")), expected)


def test_transparency_and_orientation_of_a_pillow_image_are_respected():
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    white = np.asarray(upscale_image(clear, device="cpu"))
    np.testing.assert_array_equal(white, np.asarray(upscale_image(Image.new("RGB", (16, 16), "white"), device="cpu")))
    turned = Image.fromarray(PIXELS)
    turned.getexif()[0x0112] = 6
    assert upscale_image(turned, device="cpu").size == (40, 56)


def test_loaded_models_serve_as_well(enlarged):
    adapter = LatentUpscaler.from_pretrained(DEFAULT_ADAPTER)
    codec = lua_lightning.LatentCodec.from_pretrained(adapter.config.codec)
    result = upscale_image(PIXELS, 2, adapter=adapter, codec=codec, tile=None, device="cpu")
    np.testing.assert_array_equal(np.asarray(result), enlarged)
    assert upscale_image(PIXELS, 4, adapter=adapter, codec=codec, device="cpu").size == (112, 80)


@pytest.mark.parametrize(
    ("image", "settings", "said"),
    [
        ("missing.png", {}, "missing.png does not exist"),
        (7, {}, "not int"),
        (np.zeros((4, 4, 5), np.uint8), {}, r"shape \(4, 4, 5\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3), np.int32), {}, "int32"),
        (np.full((4, 4, 3), 200.0), {}, r"\[0, 1\]"),
        (np.full((4, 4, 3), np.nan), {}, r"\[0, 1\]"),
        (Image.new("F", (4, 4)), {}, "the Pillow image has pixels of type 'F'"),
        (PIXELS, {"scale": 5}, "at most 4 times"),
        (PIXELS, {"size": (9, 9), "megapixels": 1}, "give one of them"),
        (PIXELS, {"adapter": "lua-tiny-d61"}, "lua-tiny-d64"),
        (PIXELS, {"codec": "tiny-d4"}, "64 channels .* 4 channels"),
        (PIXELS, {"adapter": LatentUpscaler(AdapterConfig(embed_dim=8, depths=(1,), num_heads=1))}, "name the codec"),
    ],
)
def test_mistakes_are_one_sentence(image, settings, said):
    with pytest.raises(UserError, match=said) as caught:
        upscale_image(image, device="cpu", **settings)
    assert len(str(caught.value).splitlines()) == 1
