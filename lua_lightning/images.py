"""Read, resize and write images: uint8 HxWx3 arrays on disk's side, float NCHW tensors in [-1, 1] on the model's."""

import io
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageCms, PngImagePlugin
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.files import replacing

MAX_PIXELS = 512_000_000
WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".webp": ("WEBP", {"quality": 95}),
}
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
# Pillow raises these for one kind of damage or another; each means "this file cannot be read".
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, EOFError, ArithmeticError, MemoryError)
_pixel_limit = threading.Lock()


class UnusableImage(UserError):
    """A file that cannot be turned into RGB pixels: `<path> <reason>`, with the reason alone in `reason`."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)  # both, so that it survives pickling between data loader processes
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {self.reason}"


def read_image(path: str | Path) -> np.ndarray:
    """Return the picture as its author meant it to be seen: uint8 RGB of shape (H, W, 3).

    EXIF orientation is applied, colour profiles are converted to sRGB, transparency is composited over white, 16-bit
    greyscale is scaled to 8 bits. Of an animation or a multi-page file, the first picture.

    Raises:
        UnusableImage: The file is missing, damaged, no image, larger than `MAX_PIXELS`, or of a pixel type without a
            defined white (floating point, 32-bit integer).
    """
    path = Path(path)
    with _open(path) as image:
        return _pixels_of(image, path)


def _pixels_of(image: Image.Image, path: Path) -> np.ndarray:
    try:
        image.load()
        if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
            reason = f"has pixels of type {image.mode!r}, which define no white: save it with 8 or 16 bits per pixel"
            raise UnusableImage(path, reason)
        return np.array(_upright(_to_srgb(image), _orientation(image)))
    except _DAMAGE as error:
        raise UnusableImage(path, f"cannot be decoded: {error}") from error


def as_pixels(image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
    """Return an image in any of the usual forms as uint8 RGB of shape (H, W, 3).

    Args:
        image: A file, as `read_image` takes it; a Pillow image, treated likewise; or an array (H, W, 3) or (H, W),
            uint8 or floating point in [0, 1].

    Raises:
        UserError: The file or the array cannot be turned into RGB pixels.
    """
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, Image.Image):
        return _pixels_of(image, Path("the Pillow image"))
    if isinstance(image, np.ndarray):
        return _pixels_of_array(image)
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


def to_tensor(array: np.ndarray) -> Tensor:
    """Return a uint8 (H, W, 3) array as a float32 (1, 3, H, W) tensor in [-1, 1]."""
    planes = np.array(array.transpose(2, 0, 1)[None], order="C")  # a copy: torch takes no read-only or flipped arrays
    return torch.from_numpy(planes).float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Return a (3, H, W) or (1, 3, H, W) tensor in [-1, 1] as a uint8 (H, W, 3) array, rounded and clamped.

    Raises:
        ValueError: The tensor holds more than one image, or not three channels.
    """
    if images.ndim == 4 and images.shape[0] == 1:
        images = images[0]
    if images.ndim != 3 or images.shape[0] != 3:
        raise ValueError(f"expected one RGB image of shape (3, H, W) or (1, 3, H, W), got {tuple(images.shape)}")
    levels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def write_image(path: str | Path, image: Tensor | np.ndarray, text: Mapping[str, str] | None = None) -> None:
    """Write an image as PNG, JPEG or WebP, by the path's suffix; a reader never sees half a file.

    Args:
        path: Where to; its folder is made when missing.
        image: A tensor as `to_uint8` takes it, or a uint8 (H, W, 3) array.
        text: What a PNG file holds beside its pixels, by keyword.

    Raises:
        UserError: The suffix is not one of `WRITERS`.
        ValueError: There is `text` for a file that is not PNG.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITERS:
        raise UserError(f"{path} cannot be written: the suffix must be one of {', '.join(WRITERS)}")
    file_format, options = WRITERS[path.suffix.lower()]
    if text:
        if file_format != "PNG":
            raise ValueError(f"{path} cannot hold text: only PNG files do")
        info = PngImagePlugin.PngInfo()
        for keyword, value in text.items():
            info.add_text(keyword, value)
        options = {**options, "pnginfo": info}
    array = to_uint8(image) if isinstance(image, Tensor) else image
    with replacing(path) as partial:
        Image.fromarray(array).save(partial, format=file_format, **options)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N, C, H, W) float images at `size` (height, width), by antialiased bicubic: the same filter as Pillow's.

    The range is not cut: bicubic overshoots at edges.
    """
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def downscale(images: Tensor, factor: float) -> Tensor:
    """Return (N, C, H, W) float images with both sides divided by `factor` (rounded), by antialiased bicubic."""
    height, width = images.shape[-2:]
    return resize(images, (max(1, round(height / factor)), max(1, round(width / factor))))


def _open(path: Path) -> Image.Image:
    """Open without Pillow's own pixel limit, which refuses large photographs, and apply ours."""
    with _pixel_limit:
        pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        except FileNotFoundError as error:
            raise UnusableImage(path, "does not exist") from error
        except Image.UnidentifiedImageError as error:
            raise UnusableImage(path, "is not an image in any format Pillow reads") from error
        except _DAMAGE as error:
            raise UnusableImage(path, f"cannot be opened: {error}") from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise UnusableImage(path, f"is too large: {width}x{height} pixels, above {MAX_PIXELS // 10**6} million")
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF raises almost anything, and says nothing about the pixels
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image


def _to_srgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):  # "I": 16-bit PPM, and PNG in older Pillow
        levels = np.asarray(image).astype(np.float64) / 257  # 65535 / 255; a plain convert("L") would clip at 255
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)).convert("RGB")
    profile = image.info.get("icc_profile")
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
    elif image.mode in ("P", "1"):
        image = image.convert("RGB")
    colours = _apply_profile(image.convert("RGB") if alpha else image, profile)
    return Image.composite(colours, Image.new("RGB", image.size, "white"), alpha) if alpha else colours


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return RGB, converted from the embedded profile where it can be read; a broken profile is as good as none."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not ImageCms.getProfileDescription(source).startswith("sRGB"):
                converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
                return converted or image.convert("RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    return image.convert("RGB")
