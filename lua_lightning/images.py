"""Convert, resize and write images: uint8 HxWx3 arrays on disk's side, float NCHW tensors in [-1, 1] on the model's."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, PngImagePlugin
from torch import Tensor

from lua_lightning.files import replacing
from lua_lightning.pictures import UnusableImage, read_image, writer_of

__all__ = ["UnusableImage", "downscale", "read_image", "resize", "to_tensor", "to_uint8", "write_image"]


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
    levels = images.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def write_image(
    path: str | Path, image: Tensor | np.ndarray | Image.Image, text: Mapping[str, str] | None = None
) -> None:
    """Write an image as PNG, JPEG or WebP, by the path's suffix; a reader never sees half a file.

    Args:
        path: Where to; its folder is made when missing.
        image: A tensor as `to_uint8` takes it, a uint8 (H, W, 3) array, or a Pillow image.
        text: What a PNG file holds beside its pixels, by keyword.

    Raises:
        UserError: The suffix is not one of `WRITERS`, or the image has a side too long for its format.
        ValueError: There is `text` for a file that is not PNG.
    """
    path, options = Path(path), {}
    writer = writer_of(path)
    if text:
        if writer.name != "PNG":
            raise ValueError(f"{path} cannot hold text: only PNG files do")
        info = PngImagePlugin.PngInfo()
        for keyword, value in text.items():
            info.add_text(keyword, value)
        options = {"pnginfo": info}
    if not isinstance(image, Image.Image):
        image = Image.fromarray(to_uint8(image) if isinstance(image, Tensor) else image)
    writer.check_size(path, *image.size)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        image.save(partial, format=writer.name, **writer.options, **options)


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return (N, C, H, W) float images at `size` (height, width), by antialiased bicubic: the same filter as Pillow's.

    The range is not cut: bicubic overshoots at edges.
    """
    return F.interpolate(images, size=size, mode="bicubic", antialias=True, align_corners=False)


def downscale(images: Tensor, factor: float, kernel: str = "bicubic") -> Tensor:
    """Return (N, C, H, W) float images with both sides divided by `factor` (rounded).

    Args:
        images: Any range, which bicubic and Lanczos overshoot at edges.
        factor: At least 1.
        kernel: "bicubic", "area" or "lanczos", each antialiased; Lanczos by Pillow, on the CPU.
    """
    height, width = images.shape[-2:]
    size = (max(1, round(height / factor)), max(1, round(width / factor)))
    if kernel == "bicubic":
        return resize(images, size)
    if kernel == "area":
        return F.interpolate(images, size=size, mode="area")
    planes = images.flatten(0, 1).float().cpu().numpy()
    resized = [Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.LANCZOS) for plane in planes]
    return (
        torch.from_numpy(np.stack([np.asarray(plane) for plane in resized])).view(*images.shape[:2], *size).to(images)
    )
