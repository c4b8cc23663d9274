"""Reading against pixels that are known beforehand, resizing against Pillow's own filters."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from lua_lightning import pictures
from lua_lightning.errors import UserError
from lua_lightning.images import (
    UnusableImage,
    downscale,
    read_image,
    resize,
    to_tensor,
    to_uint8,
    write_image,
)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (21, 34, 3), dtype=np.uint8)


def test_rgb_png_is_read_as_it_is(tmp_path: Path, pixels: np.ndarray):
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    array = read_image(tmp_path / "rgb.png")
    assert array.dtype == np.uint8
    np.testing.assert_array_equal(array, pixels)


@pytest.mark.parametrize("name", ["grey.png", "grey.jpg", "grey.tif"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, pixels: np.ndarray, name: str):
    Image.fromarray(pixels[..., 0]).save(tmp_path / name)
    array = read_image(tmp_path / name)
    expected = np.asarray(Image.open(tmp_path / name))
    np.testing.assert_array_equal(array, np.stack([expected] * 3, axis=-1))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, name: str):
    levels = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
    Image.fromarray(levels).save(tmp_path / name)
    expected = np.rint(levels / 65535 * 255)
    np.testing.assert_array_equal(read_image(tmp_path / name), np.stack([expected] * 3, axis=-1))


def test_cmyk_jpeg_shows_its_colours(tmp_path: Path):
    ink = np.zeros((32, 32, 4), dtype=np.uint8)
    ink[:, :16, 0] = 255  # cyan on the left, paper on the right
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    array = read_image(tmp_path / "cmyk.jpg")
    np.testing.assert_allclose(array[16, 4], [0, 255, 255], atol=3)
    np.testing.assert_allclose(array[16, 28], [255, 255, 255], atol=3)


def test_alpha_is_composited_over_white(tmp_path: Path):
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    rgba[..., 3] = [[0, 51, 102, 255]] * 4
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    expected_red = np.rint(255 + (200 - 255) * np.array([0, 51, 102, 255]) / 255)
    expected_green = np.rint(255 - np.array([0, 51, 102, 255]))
    array = read_image(tmp_path / "alpha.png")
    np.testing.assert_allclose(array[0, :, 0], expected_red, atol=1)
    np.testing.assert_allclose(array[0, :, 1], expected_green, atol=1)


def test_grey_with_alpha_is_composited_over_white(tmp_path: Path):
    Image.fromarray(np.array([[[0, 0], [0, 255]]], dtype=np.uint8), mode="LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_image(tmp_path / "la.png"), [[[255] * 3, [0] * 3]])


@pytest.mark.parametrize("name", ["palette.png", "palette.gif"])
def test_palette_with_a_transparent_entry(tmp_path: Path, name: str):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / name, transparency=0)
    np.testing.assert_array_equal(read_image(tmp_path / name), [[[255, 255, 255], [200, 100, 50]]])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_agrees_with_pillow(tmp_path: Path, pixels: np.ndarray, suffix: str, orientation: int):
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif, lossless=True)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_image(path), expected)


def test_exif_orientation_6_turns_clockwise(tmp_path: Path, pixels: np.ndarray):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(pixels, k=-1))


def test_16_bit_grey_is_turned_too(tmp_path: Path):
    levels = (np.arange(12, dtype=np.uint16) * 257).reshape(3, 4)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "turned.png")[..., 0], np.rot90(np.arange(12).reshape(3, 4), k=-1)
    )


def linear_srgb_profile() -> bytes:
    """Return an ICC profile with sRGB's primaries and a linear curve, written by the specification (ICC.1:2001-04)."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv\0\0\0\0" + struct.pack(">I", 0)  # no entries: the identity
    title = b"linear\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(title)) + title + b"\0" * 78
    tags = {
        b"desc": description,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.4360, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        body += b"\0" * (-len(body) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + xyz(0.9642, 1.0, 0.8249)[8:]
    return header.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colour_profile_is_converted_to_srgb(tmp_path: Path, mode: str):
    linear = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    Image.fromarray(linear).convert(mode).save(tmp_path / "linear.png", icc_profile=linear_srgb_profile())
    level = np.arange(256) / 255
    encoded = np.where(level <= 0.0031308, 12.92 * level, 1.055 * level ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1
    array = read_image(tmp_path / "linear.png")
    np.testing.assert_allclose(array[0, :, 0], encoded, atol=2)
    assert array[0, 128, 0] > 180


def test_broken_profile_is_as_good_as_none(tmp_path: Path, pixels: np.ndarray):
    Image.fromarray(pixels).save(tmp_path / "broken.png", icc_profile=b"not a profile")
    np.testing.assert_array_equal(read_image(tmp_path / "broken.png"), pixels)


def test_truncated_file_is_refused(tmp_path: Path, pixels: np.ndarray):
    for suffix in ("png", "jpg", "tif"):
        path = tmp_path / f"whole.{suffix}"
        Image.fromarray(pixels.repeat(8, axis=0).repeat(8, axis=1)).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(UnusableImage, match=r"whole\.\w+ (cannot be|is not)"):
            read_image(path)


def test_text_under_an_image_name_is_refused(tmp_path: Path):
    (tmp_path / "notes.jpg").write_text("not a photograph")
    with pytest.raises(UnusableImage, match="is not an image in any format Pillow reads") as caught:
        read_image(tmp_path / "notes.jpg")
    assert str(caught.value) == f"{tmp_path / 'notes.jpg'} {caught.value.reason}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        read_image(tmp_path / "nowhere.png")


def test_floating_point_pixels_are_refused(tmp_path: Path):
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnusableImage, match="define no white"):
        read_image(tmp_path / "float.tif")


def test_pixel_limit_is_ours_and_pillow_s_is_left_alone(tmp_path: Path, pixels: np.ndarray, monkeypatch):
    Image.fromarray(pixels).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # 714 pixels would be a "decompression bomb"
    with pytest.raises(Image.DecompressionBombError):
        Image.open(tmp_path / "large.png")
    np.testing.assert_array_equal(read_image(tmp_path / "large.png"), pixels)
    assert Image.MAX_IMAGE_PIXELS == 100
    monkeypatch.setattr(pictures, "MAX_PIXELS", 700)
    with pytest.raises(UnusableImage, match="is too large: 34x21 pixels"):
        read_image(tmp_path / "large.png")


def test_every_level_survives_the_round_trip():
    array = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    tensor = to_tensor(array)
    assert tensor.shape == (1, 3, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)
    np.testing.assert_array_equal(to_uint8(tensor), array)
    np.testing.assert_array_equal(to_uint8(tensor[0]), array)


def test_to_uint8_rounds_and_clamps():
    levels = torch.tensor([-7.0, -1.0, 100.4 / 127.5 - 1, 100.6 / 127.5 - 1, 1.0, 3.0])
    assert to_uint8(levels.expand(3, 1, 6))[0, :, 0].tolist() == [0, 0, 100, 101, 255, 255]


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (4, 4), (1, 4, 4), (4, 4, 3)])
def test_to_uint8_takes_one_rgb_image(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match="expected one RGB image"):
        to_uint8(torch.zeros(shape))


def test_write_image_by_suffix(tmp_path: Path, pixels: np.ndarray):
    smooth = np.asarray(Image.fromarray(pixels[:3, :4]).resize((64, 48), Image.Resampling.BICUBIC))
    for name, file_format, tolerance in (("a.png", "PNG", 0), ("new/a.JPG", "JPEG", 3), ("a.webp", "WEBP", 8)):
        write_image(tmp_path / name, to_tensor(smooth))
        with Image.open(tmp_path / name) as image:
            assert image.format == file_format
            assert np.abs(np.asarray(image).astype(int) - smooth).mean() <= tolerance
    with pytest.raises(UserError, match=r"one of \.png, \.jpg, \.jpeg, \.webp"):
        write_image(tmp_path / "a.bmp", smooth)


def test_failed_write_leaves_the_old_file(tmp_path: Path, pixels: np.ndarray):
    write_image(tmp_path / "a.png", pixels)
    with pytest.raises(TypeError):
        write_image(tmp_path / "a.png", np.zeros((3, 3, 7), dtype=np.uint8))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("size", [(7, 11), (10, 17), (21, 34), (40, 50), (42, 20)])
def test_resize_is_pillow_s_bicubic(pixels: np.ndarray, size: tuple[int, int]):
    resized = resize(to_tensor(pixels), size)
    assert resized.shape == (1, 3, *size)
    for channel in range(3):
        plane = Image.fromarray(pixels[..., channel].astype(np.float32))  # in floats, Pillow neither rounds nor clips
        expected = np.asarray(plane.resize((size[1], size[0]), Image.Resampling.BICUBIC))
        np.testing.assert_allclose((resized[0, channel].numpy() + 1) * 127.5, expected, atol=0.01)


def test_downscale_rounds_sizes_and_agrees_with_pillow_in_8_bits(pixels: np.ndarray):
    halved = downscale(to_tensor(pixels), 2)
    assert halved.shape == (1, 3, 10, 17)
    expected = np.asarray(Image.fromarray(pixels).resize((17, 10), Image.Resampling.BICUBIC)).astype(int)
    np.testing.assert_allclose(to_uint8(halved).astype(int), expected, atol=1)
    assert downscale(to_tensor(pixels), 100).shape == (1, 3, 1, 1)


def test_a_png_holds_text_beside_its_pixels(tmp_path):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    write_image(tmp_path / "a.png", pixels, {"key": "value"})
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.info["key"] == "value"
    with pytest.raises(ValueError, match="only PNG"):
        write_image(tmp_path / "a.jpg", pixels, {"key": "value"})
