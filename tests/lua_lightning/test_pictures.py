"""The one reader of pictures: profiles by content, checksums, HEIC, and damage of every format that Pillow reads."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from lua_lightning import pictures
from lua_lightning.pictures import (
    UnusableImage,
    as_picture,
    picture_size,
    read_image,
    read_picture,
    readable_suffixes,
)

Y, X = np.mgrid[0:24, 0:36]
PIXELS = np.stack([40 + 150 * X / 36, 30 + 180 * Y / 24, 200 - 120 * X / 36], -1).round().astype(np.uint8)


def profile_named(description: str, gamma: float | None = None) -> bytes:
    """Return an sRGB profile under another name; with `gamma`, its curve is that power instead."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    count = int.from_bytes(profile[128:132], "big")
    content = bytearray(profile)
    for number in range(count):
        start = 132 + 12 * number
        tag, place, size = profile[start : start + 4], *np.frombuffer(profile[start + 4 : start + 12], ">u4").tolist()
        if tag == b"desc":
            text = description.encode("utf-16-be")
            room = int.from_bytes(content[place + 20 : place + 24], "big")
            content[place + 20 : place + 24] = min(len(text), room).to_bytes(4, "big")
            begin = place + int.from_bytes(content[place + 24 : place + 28], "big")
            content[begin : begin + room] = text[:room].ljust(room, b"\0")
        if gamma and tag in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"para" + bytes(4) + bytes(4) + round(gamma * 65536).to_bytes(4, "big")
            content[place : place + size] = curve.ljust(size, b"\0")
    return bytes(content)


def test_a_profile_is_judged_by_what_it_does_not_by_its_name(tmp_path: Path):
    grey = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    linear = profile_named("sRGB", gamma=1.0)
    description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(linear)))
    assert description.startswith("sRGB")
    Image.fromarray(grey).save(tmp_path / "linear.png", icc_profile=linear)
    level = np.arange(256) / 255
    encoded = np.where(level <= 0.0031308, 12.92 * level, 1.055 * level ** (1 / 2.4) - 0.055) * 255  # IEC 61966-2-1
    np.testing.assert_allclose(read_image(tmp_path / "linear.png")[0, :, 0], encoded, atol=2)


def test_srgb_under_any_name_leaves_the_pixels_as_they_are(tmp_path: Path):
    Image.fromarray(PIXELS).save(tmp_path / "named.png", icc_profile=profile_named("My"))
    np.testing.assert_array_equal(read_image(tmp_path / "named.png"), PIXELS)


def test_a_profile_for_rgb_holds_for_grey_and_16_bit_pixels_too(tmp_path: Path):
    linear = profile_named("Lin", gamma=1.0)
    level = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(level.astype(np.uint8)).save(tmp_path / "8.png", icc_profile=linear)
    Image.fromarray(level * 257).save(tmp_path / "16.png", icc_profile=linear)
    eight, sixteen = read_image(tmp_path / "8.png"), read_image(tmp_path / "16.png")
    assert eight[8, 0, 0] > 180
    np.testing.assert_array_equal(eight, sixteen)


def test_a_wrong_checksum_is_refused_wherever_it_is(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    for place in range(40, len(whole), len(whole) // 60):
        (tmp_path / "damaged.png").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(UnusableImage, match=r"cannot be|is not an image"):
            read_image(tmp_path / "damaged.png")


def test_a_flipped_byte_that_pillow_shows_as_other_colours_is_refused(tmp_path: Path):
    Image.fromarray(PIXELS).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    start = whole.index(b"IDAT") + 4
    length = int.from_bytes(whole[start - 8 : start - 4], "big")
    other = zlib.compress(bytes(len(zlib.decompress(whole[start : start + length]))))  # black, with the old checksum
    content = len(other).to_bytes(4, "big") + b"IDAT" + other
    (tmp_path / "black.png").write_bytes(whole[: start - 8] + content + whole[start + length :])
    assert np.asarray(Image.open(tmp_path / "black.png")).max() == 0  # Pillow says nothing
    with pytest.raises(UnusableImage, match="the checksum of its pixel data does not fit"):
        read_image(tmp_path / "black.png")


def test_transparency_comes_with_the_picture_and_only_where_there_is_some(tmp_path: Path):
    alpha = np.where(X < 18, 0, 200).astype(np.uint8)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "alpha.png")
    picture = read_picture(tmp_path / "alpha.png")
    np.testing.assert_array_equal(picture.pixels, PIXELS)
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert (picture.on_white()[:, :18] == 255).all()
    np.testing.assert_array_equal(picture.on_white(), read_image(tmp_path / "alpha.png"))
    Image.fromarray(np.dstack([PIXELS, np.full_like(alpha, 255)])).save(tmp_path / "opaque.png")
    assert read_picture(tmp_path / "opaque.png").alpha is None
    assert as_picture(PIXELS).alpha is None


def test_the_alpha_channel_is_turned_with_the_picture(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = np.where(X < 18, 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([PIXELS, alpha])).save(tmp_path / "turned.png", exif=exif)
    picture = read_picture(tmp_path / "turned.png")
    np.testing.assert_array_equal(picture.alpha, np.rot90(alpha, k=-1))
    assert picture_size(tmp_path / "turned.png") == (24, 36)


def test_heic_is_read_where_its_package_is(tmp_path: Path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(tmp_path / "photo.heic", quality=-1)
    assert np.abs(read_image(tmp_path / "photo.heic").astype(int) - PIXELS).mean() < 3
    (tmp_path / "broken.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    with pytest.raises(UnusableImage, match=r"pillow-heif.*convert it to PNG or JPEG"):
        read_image(tmp_path / "broken.heic")


def test_heic_without_its_package_is_named_with_what_mends_it(tmp_path: Path, monkeypatch):
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 100)
    monkeypatch.setattr(pictures, "_register_heif", lambda: False)
    with pytest.raises(UnusableImage, match=r"pip install 'lua-lightning\[heif\]'"):
        read_image(tmp_path / "photo.heic")
    assert {".heic", ".heif", ".png", ".jpg", ".tif"} <= readable_suffixes()


# Formats that Pillow reads and does not write, by how their files begin.
BEGINNINGS = {
    "CUR": b"\0\0\2\0\1\0\x20\x20\0\0\1\0\1\0\x30\0\0\0\x16\0\0\0",
    "DCX": b"\xb1\x68\xde\x3a\x0c\0\0\0\0\0\0\0",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    "FITS": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80),
    "FLI": b"\x80\0\0\0\x12\xaf\1\0\x08\0\x08\0\x08\0\3\0",
    "FTEX": b"FTEX\0\0\1\0\x08\0\0\0\x08\0\0\0\1\0\0\0\1\0\0\0",
    "GBR": b"\0\0\0\x20\0\0\0\2\0\0\0\x08\0\0\0\x08\0\0\0\1GIMP\0\0\0\1x\0\0\0",
    "ICNS": b"icns\0\0\1\0ic07\0\0\0\x88",
    "IPTC": b"\x1c\3\x3c\0\x02\x10\1\x1c\3\x14\0\1\x08",
    "MCIDAS": b"\0\0\0\0\0\0\0\4" + bytes(248),
    "PCD": bytes(2048) + b"PCD_IPI" + bytes(100),
    "PIXAR": b"\x80\xe8\0\0".ljust(512, b"\x08"),
    "PSD": b"8BPS\0\1" + bytes(6) + b"\0\3\0\0\0\x08\0\0\0\x08\0\x08\0\3" + bytes(12),
    "QOI": b"qoif\0\0\0\x08\0\0\0\x08\3\0",
    "SUN": b"\x59\xa6\x6a\x95\0\0\0\x08\0\0\0\x08\0\0\0\x18\0\0\0\xc0\0\0\0\1\0\0\0\0\0\0\0\0",
    "WMF": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x08\0\x08\0\x48\0\0\0\0\0\0\0\1\0\x09\0",
    "XPM": b'/* XPM */\nstatic char * a[] = {\n"8 8 2 1",\n" c #000000",\n". c #ffffff",\n',
    "XVThumb": b"P7 332\n#XVVERSION\n#END_OF_COMMENTS\n8 8 255\n",
}


def seeds() -> dict[str, bytes]:
    """Return a small file of every format: a true one where Pillow writes it, else a beginning and noise."""
    Image.init()
    pictures.readable_suffixes()
    noise = np.random.default_rng(0).bytes(600)
    found = {name: start + noise for name, start in BEGINNINGS.items()}
    for name in Image.OPEN:
        for mode in ("RGB", "L", "P", "1", "RGBA", "I;16"):
            try:
                Image.fromarray(PIXELS).convert(mode if mode != "I;16" else "I").convert(mode).save(
                    file := io.BytesIO(), name
                )
            except Exception:
                continue
            found[f"{name} {mode}"] = file.getvalue()
    return found


def test_no_damage_of_any_format_raises_anything_but_its_sentence(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PIXELS", 10**6)  # a flipped byte of the size asks for no memory here
    draw = np.random.default_rng(0)
    read, reasons, formats = 0, [], seeds()
    assert {name.partition(" ")[0] for name in formats} >= {"PNG", "JPEG", "TIFF", "GIF", "WEBP", "AVIF", "BLP", "DDS"}
    for name, whole in formats.items():
        for number in range(12):
            content = bytearray(whole)
            for _ in range(number):
                content[draw.integers(min(len(content), 200 if number % 2 else len(content)))] = draw.integers(256)
            if number % 4 == 3:
                del content[int(draw.integers(len(content))) :]
            path = tmp_path / "damaged.bin"
            path.write_bytes(bytes(content))
            try:
                array = read_image(path)
                picture_size(path)
            except UnusableImage as error:
                reasons.append(error.reason)
            else:
                assert array.dtype == np.uint8, name
                assert array.ndim == 3, name
                assert array.shape[2] == 3, name
                read += 1
    assert min(read, len(reasons)) > 100
    assert [reason for reason in reasons if not reason.strip() or "\n" in reason] == []
