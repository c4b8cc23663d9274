"""Enlarge pictures: any size, in tiles, with their transparency, into a canvas of four bytes a pixel."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.images import to_uint8
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import OVERLAP, LatentCodec
from lua_lightning.pictures import Picture, as_picture
from lua_lightning.pipeline import load_pair, upscale_latents, warn_of_range
from lua_lightning.tiling import bands, tiled

# Bytes that `enlarge` needs, measured with room to spare: for a pixel of the picture and of its enlargement, for a
# pixel of a row of tiles, and for a pixel of a tile, on which the networks work.
PER_INPUT, PER_RESULT, PER_ROW, PER_TILE = 16, 10, 24, 200

ROWS_AT_ONCE = 128  # that are rounded to 8 bits


def upscale_image(
    image: str | Path | Image.Image | np.ndarray,
    scale: int = 2,
    *,
    adapter: str | Path | LatentUpscaler = "lua-tiny-d16",
    codec: str | Path | LatentCodec | None = None,
    tile: int | None = 1024,
    device: str | torch.device | None = None,
) -> Image.Image:
    """Return an image enlarged `scale` times as an RGB Pillow image; transparent places are put on white.

    Models given by name are loaded anew in every call; give loaded ones when enlarging many images.

    >>> from PIL import Image
    >>> upscale_image(Image.new("RGB", (60, 40)), scale=2, device="cpu").size
    (120, 80)

    Args:
        image: A file; a Pillow image; or an array (H, W, 3) or (H, W), uint8 or floating point in [0, 1]. Any size.
        scale: 2 or 4, as the adapter has heads for.
        adapter: Name, folder, file or hub id, or a loaded adapter.
        codec: Likewise; None takes the codec that the adapter was trained on.
        tile: Side in pixels of the tiles of the result, which bounds the memory; None works on the whole.
        device: `cpu`, `cuda` or `mps`; None takes the best there is.

    Raises:
        UserError: The image cannot be read, a model cannot be loaded, or the models do not fit each other or `scale`.
    """
    picture = Picture(as_picture(image).on_white())
    network, autoencoder = load_pair(adapter, codec, scale, device)
    return enlarge(network, autoencoder, picture, scale, tile)


@torch.inference_mode()
def enlarge(
    adapter: LatentUpscaler, codec: LatentCodec, picture: Picture, scale: int, tile: int | None = 1024
) -> Image.Image:
    """Return a picture enlarged `scale` times: RGB, or RGBA with the alpha channel enlarged by bicubic.

    The network sees the colours as they are stored, also under transparent places.

    Args:
        adapter: Any adapter that fits the codec.
        codec: Encodes the picture and decodes the result.
        picture: Any height and width.
        scale: One of the adapter's scales.
        tile: Side in pixels of the tiles of the result, rounded down to whole latents; None works on the whole.

    Raises:
        UserError: The tile is too small for the codec.
    """
    height, width = picture.pixels.shape[:2]
    canvas, top = Image.new("RGB", (width * scale, height * scale)), 0
    for band in _enlarged(adapter, codec, picture.pixels, scale, tile):
        top = _paste(canvas, band, top)
        del band  # it need not wait for the next one
    if picture.alpha is not None:
        canvas.putalpha(Image.fromarray(picture.alpha).resize(canvas.size, Image.Resampling.BICUBIC))
    return canvas


def _paste(canvas: Image.Image, band: Tensor, top: int) -> int:
    """Write a band (1, 3, h, W) in [-1, 1] into the canvas at row `top`, and return the row below it."""
    for part in band[..., : canvas.width].split(ROWS_AT_ONCE, dim=-2):
        canvas.paste(Image.fromarray(to_uint8(part)), (0, top))
        top += part.shape[-2]
    return top


def _enlarged(
    adapter: LatentUpscaler, codec: LatentCodec, pixels: np.ndarray, scale: int, tile: int | None
) -> Iterator[Tensor]:
    """Yield the decoded enlargement (1, 3, h, W) in [-1, 1] from top to bottom; it may reach beyond the picture."""
    unit, cell = codec.downscale, codec.shift.shape[-1]
    height, width = pixels.shape[:2]
    side = tile_in_latents(codec, tile) if tile else max(height, width) * scale  # in latents: one tile holds all of it
    grid = unit * cell
    padded = np.pad(pixels, ((0, -height % grid), (0, -width % grid), (0, 0)), mode="edge")
    planes = torch.from_numpy(padded.transpose(2, 0, 1)[None])

    def encode(part: Tensor) -> Tensor:
        return codec.encode(part.to(codec.device).float().div(127.5).sub(1))

    latents = tiled(encode, planes, Fraction(1, unit), side * unit, OVERLAP * unit, cell)
    latents = upscale_latents(adapter, codec, latents, scale, tile=side // scale)
    warn_of_range(adapter, codec, latents)
    yield from bands(codec.decode, latents, unit, side, OVERLAP, cell)


def tile_in_latents(codec: LatentCodec, tile: int, option: str = "tile") -> int:
    """Return the side of a tile of `tile` pixels in latents, rounded down to what the codec can cut.

    Args:
        codec: The codec.
        tile: Side in pixels.
        option: What the user calls it.

    Raises:
        UserError: The tile is smaller than twice the overlap of tiles.
    """
    cell = codec.shift.shape[-1]
    side, smallest = tile // (codec.downscale * cell) * cell, 2 * OVERLAP
    if side < smallest:
        pixels = smallest * codec.downscale
        raise UserError(f"{option} {tile} is too small for the codec {codec.source}: give {pixels} pixels or more")
    return side


def memory_needed(width: int, height: int, scale: int, tile: int) -> int:
    """Return about how many bytes `enlarge` needs beside the models for a picture of `width` x `height` pixels."""
    result, row = width * height * scale**2, width * scale * min(tile, height * scale)
    tile_area = min(tile, width * scale) * min(tile, height * scale)
    return PER_INPUT * width * height + PER_RESULT * result + PER_ROW * row + PER_TILE * tile_area
