"""The one reader of pictures, any file that Pillow reads as its author meant it to be seen; and what can be written."""

import io
import threading
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

from lua_lightning.errors import UserError, first_line

MAX_PIXELS = 512_000_000
# What mends each EXIF orientation but 1, which is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_THEIR_SIDE = (5, 6, 7, 8)
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
HEIF_HINT = "convert it to PNG or JPEG, or install the package pillow-heif: pip install 'lua-lightning[heif]'"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
AS_SRGB = 2  # levels by which a profile may differ from sRGB and still be taken for it
_pixel_limit = threading.Lock()


@dataclass(frozen=True)
class Writer:
    """A format that images are written in."""

    name: str
    """As Pillow calls it."""
    longest_side: int
    """Most pixels of a side: of the format, or of the library that writes it."""
    holds_alpha: bool
    """Whether it keeps transparency."""
    options: dict[str, Any] = field(default_factory=dict)
    """What `Image.save` is given."""

    def check_size(self, path: Path, width: int, height: int) -> None:
        """Refuse an image of `width` x `height` pixels that the format cannot hold.

        Raises:
            UserError: A side is too long.
        """
        if max(width, height) > self.longest_side:
            raise UserError(
                f"{path} cannot hold {width}x{height} pixels: a side of a {self.name} file has at most "
                f"{self.longest_side}; write a PNG file, which has no such limit"
            )


# 65,535 pixels is JPEG's own limit; libjpeg, which writes it, stops at 65,500.
_JPEG = Writer("JPEG", 65_500, False, {"quality": 95, "subsampling": 0})
WRITERS = {
    ".png": Writer("PNG", 2**31 - 1, True, {"compress_level": 3}),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": Writer("WEBP", 16_383, True, {"quality": 95}),
}


def writer_of(path: Path) -> Writer:
    """Return what writes the format that a path's suffix names.

    Raises:
        UserError: The suffix is not one of `WRITERS`.
    """
    if path.suffix.lower() not in WRITERS:
        raise UserError(f"{path} cannot be written: the suffix must be one of {', '.join(WRITERS)}")
    return WRITERS[path.suffix.lower()]


class UnusableImage(UserError):
    """A file that cannot be turned into RGB pixels: `<path> <reason>`, with the reason alone in `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it survives pickling between data loader processes
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


@dataclass(frozen=True)
class Picture:
    """An upright picture in sRGB.

    Attributes:
        pixels: uint8 (H, W, 3); under transparent places the hidden colours.
        alpha: uint8 (H, W), 255 where the picture is opaque; None where all of it is.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        height, width = self.pixels.shape[:2]
        return width, height

    def on_white(self) -> np.ndarray:
        """Return the pixels as they look on white paper, uint8 (H, W, 3)."""
        if self.alpha is None:
            return self.pixels
        colours, alpha = Image.fromarray(self.pixels), Image.fromarray(self.alpha)
        return np.array(Image.composite(colours, Image.new("RGB", colours.size, "white"), alpha))


def read_picture(path: str | Path, content: bytes | None = None) -> Picture:
    """Return a picture with its transparency.

    EXIF orientation is applied, colour profiles are converted to sRGB, 16-bit greyscale is scaled to 8 bits. Of an
    animation or a multi-page file, the first picture.

    Where there is `content`, the file's bytes, `path` is only what errors call it.

    Raises:
        UnusableImage: The file is missing, damaged, no image, larger than `MAX_PIXELS`, or of a pixel type without a
            defined white (floating point, 32-bit integer).
    """
    path = Path(path)
    with _open(path, content) as image:
        if image.format == "PNG":
            with path.open("rb") if content is None else io.BytesIO(content) as file:
                _check_png(path, file)
        return picture_of(image, path)


def read_image(path: str | Path) -> np.ndarray:
    """Return a picture as uint8 RGB of shape (H, W, 3), read as `read_picture` does and put on white.

    Raises:
        UnusableImage: As in `read_picture`.
    """
    return read_picture(path).on_white()


def picture_size(path: str | Path) -> tuple[int, int]:
    """Return width and height of a picture as it is seen, from the head of its file alone.

    Raises:
        UnusableImage: The file is missing, no image, or larger than `MAX_PIXELS`.
    """
    with _open(Path(path)) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in ON_THEIR_SIDE else (width, height)


def readable_suffixes() -> set[str]:
    """Return the suffixes of files that may be pictures, in lower case; HEIC is among them also where it needs more."""
    _register_heif()
    found = {suffix for suffix, name in Image.registered_extensions().items() if name in Image.OPEN}
    return found | {*HEIF_SUFFIXES}


def as_picture(image: str | Path | Image.Image | np.ndarray) -> Picture:
    """Return an image in any of the usual forms as a picture.

    Args:
        image: A file, as `read_picture` takes it; a Pillow image, treated likewise; or an array (H, W, 3) or (H, W),
            uint8 or floating point in [0, 1].

    Raises:
        UserError: The file or the array cannot be turned into RGB pixels.
    """
    if isinstance(image, str | Path):
        return read_picture(image)
    if isinstance(image, Image.Image):
        return picture_of(image, Path("the Pillow image"))
    if isinstance(image, np.ndarray):
        return Picture(_pixels_of_array(image))
    raise UserError(f"an image must be a path, a Pillow image or a NumPy array, not {type(image).__name__}")


def _pixels_of_array(array: np.ndarray) -> np.ndarray:
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,)) or not array.size:
        raise UserError(f"an array of shape {array.shape} is no image: give (height, width, 3) or (height, width)")
    levels = array
    if np.issubdtype(array.dtype, np.floating):
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise UserError("an image of floating-point numbers must lie within [0, 1]: divide by its white first")
        levels = (array * 255).round().astype(np.uint8)
    if levels.dtype != np.uint8:
        raise UserError(f"an image of type {array.dtype} defines no white: give uint8, or numbers within [0, 1]")
    return np.broadcast_to(np.atleast_3d(levels), (*array.shape[:2], 3))


def picture_of(image: Image.Image, path: Path) -> Picture:
    """Return an opened Pillow image as a picture.

    Args:
        image: The image.
        path: What errors call it.

    Raises:
        UnusableImage: Its pixels cannot be decoded, or define no white.
    """
    try:
        image.load()
        if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
            reason = f"has pixels of type {image.mode!r}, which define no white: save it with 8 or 16 bits per pixel"
            raise UnusableImage(path, reason)
        turn = _orientation(image)
        colours, alpha = _to_srgb(image)
        pixels = np.array(_upright(colours, turn))
        if alpha is None or alpha.getextrema() == (255, 255):
            return Picture(pixels)
        return Picture(pixels, np.array(_upright(alpha, turn)))
    except UnusableImage:
        raise
    except MemoryError as error:
        raise UnusableImage(path, "needs more memory than there is") from error
    except Exception as error:  # a decoder raises anything, by kind of damage
        raise UnusableImage(path, f"cannot be decoded: {first_line(error)}") from error


def _open(path: Path, content: bytes | None = None) -> Image.Image:
    """Open without Pillow's own pixel limit, which refuses large photographs, and apply ours."""
    if content is None and path.exists() and not path.is_file():  # a pipe or a device would be waited for
        raise UnusableImage(path, "is no file, or a folder that cannot be read")
    _register_heif()
    with _pixel_limit:
        pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path if content is None else io.BytesIO(content))
        except FileNotFoundError as error:
            raise UnusableImage(path, "does not exist") from error
        except Image.UnidentifiedImageError as error:
            raise UnusableImage(path, _not_an_image(path)) from error
        except Exception as error:
            raise UnusableImage(path, f"cannot be opened: {first_line(error)}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise UnusableImage(path, f"is too large: {width}x{height} pixels, above {MAX_PIXELS // 10**6} million")
    return image


def _not_an_image(path: Path) -> str:
    if path.suffix.lower() not in HEIF_SUFFIXES:
        return "is not an image in any format Pillow reads"
    if _register_heif():
        return "cannot be read as HEIC by pillow-heif: it is damaged or no such file; convert it to PNG or JPEG"
    return f"is a HEIC file, which Pillow alone does not read: {HEIF_HINT}"


@cache
def _register_heif() -> bool:
    """Let Pillow read HEIC where the package for it is installed; return whether it is."""
    try:
        import pillow_heif  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _check_png(path: Path, file: IO[bytes]) -> None:
    """Refuse (UnusableImage) a PNG file with a wrong checksum, which Pillow lets pass, or one that ends too early."""
    if file.read(len(PNG_SIGNATURE)) != PNG_SIGNATURE:
        return  # Pillow took it for PNG all the same: it is the judge
    kind = b""
    while kind != b"IEND":
        length, kind = int.from_bytes(file.read(4), "big"), file.read(4)
        content = file.read(length)
        checksum = file.read(4)
        if len(checksum) < 4:
            raise UnusableImage(path, "cannot be decoded: the file ends before the picture does")
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(checksum, "big"):
            name = "its pixel data" if kind == b"IDAT" else f"its chunk {kind.decode('ascii', 'replace')}"
            raise UnusableImage(path, f"cannot be decoded: the checksum of {name} does not fit")


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises almost anything, and says nothing about the pixels
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _to_srgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as RGB in sRGB, and the alpha channel where there is one."""
    profile = image.info.get("icc_profile")
    if image.mode == "I" or image.mode.startswith("I;16"):  # "I": 16-bit PPM, and PNG in older Pillow
        levels = np.asarray(image).astype(np.float64) / 257  # 65535 / 255; a plain convert("L") would clip at 255
        return _apply_profile(Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)), profile), None
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert("RGB")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    return _apply_profile(image, profile), alpha


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return RGB, converted from the embedded profile where it can be read; a broken profile is as good as none.

    What a profile is called says nothing: it is tried on a probe, and where that comes out as it went in, the pixels
    stay as they are.
    """
    if profile:
        try:
            source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if source.profile.xcolor_space.strip() == "RGB":
                image = image.convert("RGB")
            transform = ImageCms.buildTransform(source, _srgb(), image.mode, "RGB")
            if not (image.mode == "RGB" and _is_identity(transform)):
                return ImageCms.applyTransform(image, transform) or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB")


@cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


@cache
def _probe() -> Image.Image:
    """Return an image that holds an even grid of all colours, and every grey."""
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 17)] * 3), axis=-1).reshape(-1, 3)
    greys = np.arange(256)[:, None].repeat(3, axis=1)
    return Image.fromarray(np.concatenate([grid, greys])[None].astype(np.uint8))


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    before, after = (np.asarray(image, dtype=int) for image in (_probe(), ImageCms.applyTransform(_probe(), transform)))
    return bool(np.abs(after - before).max() <= AS_SRGB)
