"""Enlarge pictures: any size, in tiles, with their transparency, into a canvas of four bytes a pixel."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from lua_lightning.pipeline import load_pair, scales_for, upscale_latents, warn_of_range
from lua_lightning.pixel_upscalers import PixelUpscaler
from lua_lightning.sizes import LONGEST_SIDE, Plan, Target, fitted, plan_size, target
from lua_lightning.tiling import bands, tiled
from lua_lightning.zoo import DEFAULT_ADAPTER

# Bytes that `enlarge` needs, measured with room to spare: for a pixel of the picture and of its enlargement, for a
# pixel of a row of tiles, and for a pixel of a tile, on which the networks work.
PER_INPUT, PER_RESULT, PER_ROW, PER_TILE = 16, 10, 24, 200

ROWS_AT_ONCE = 128  # that are rounded to 8 bits
PIXEL_TILE, PIXEL_OVERLAP = 512, 32  # of the input of pixel networks


def upscale_image(
    image: str | Path | Image.Image | np.ndarray,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    megapixels: float | None = None,
    fit: str = "inside",
    adapter: str | Path | LatentUpscaler = DEFAULT_ADAPTER,
    codec: str | Path | LatentCodec | None = None,
    tile: int | None = 1024,
    device: str | torch.device | None = None,
    sharpness: float = 0.0,
) -> Image.Image:
    """Return an image enlarged as an RGB Pillow image; transparent places are put on white.

    Models given by name are loaded anew in every call; give loaded ones when enlarging many images.

    >>> from PIL import Image
    >>> upscale_image(Image.new("RGB", (60, 40)), scale=2, device="cpu").size
    (120, 80)
    >>> upscale_image(Image.new("RGB", (60, 40)), size=(160, 90), device="cpu").size
    (135, 90)

    Args:
        image: A file; a Pillow image; or an array (H, W, 3) or (H, W), uint8 or floating point in [0, 1]. Any size.
        scale: Times the width and height, above 0 and up to the adapter's largest scale; 2 when no size is given.
            Between its scales it enlarges by the next larger one, and an antialiased filter reduces the result.
        size: Width and height in pixels, instead of `scale`.
        megapixels: Millions of pixels, instead of `scale`.
        fit: How `size` is met: "inside" keeps the aspect and the whole image, "crop" fills it and cuts what sticks out.
        adapter: Name, folder, file or hub id, or a loaded adapter.
        codec: Likewise; None takes the codec that the adapter was trained on.
        tile: Side in pixels of the tiles that the adapter makes, which bounds the memory; None works on the whole.
        device: `cpu`, `cuda` or `mps`; None takes the best there is.
        sharpness: From 0, faithful, to 1, crisp; for an adapter that is given by name and has both.

    Raises:
        UserError: The image cannot be read, a model cannot be loaded, the models do not fit each other, or the size is
            beyond the adapter's largest scale.
    """
    wanted = target(scale, size, megapixels, fit)
    picture = Picture(as_picture(image).on_white())
    return enlarge(*load_pair(adapter, codec, None, device, sharpness), picture, wanted, tile)


def enlarge(
    adapter: LatentUpscaler, codec: LatentCodec, picture: Picture, wanted: int | Target, tile: int | None = 1024
) -> Image.Image:
    """Return a picture as large as `wanted`: RGB, or RGBA with the alpha channel resized by bicubic.

    The network sees the colours as they are stored, also under transparent places.

    Args:
        adapter: Any adapter that fits the codec.
        codec: Encodes the picture and decodes the result.
        picture: Any height and width.
        wanted: A scale, or what `sizes.target` returns.
        tile: Side in pixels of the tiles of the enlargement, rounded down to whole latents; None works on the whole.

    Raises:
        UserError: The tile is too small for the codec, or the size is beyond the adapter's largest scale.
    """
    way = LatentWay(adapter, codec, tile)
    return way.enlarge(picture, way.plan(*picture.size, wanted if isinstance(wanted, Target) else target(wanted)))[0]


class Way(ABC):
    """A way to enlarge pictures, loaded and ready."""

    @abstractmethod
    def plan(self, width: int, height: int, wanted: Target, what: str = "the picture") -> Plan:
        """Return how a picture of `width` x `height` pixels becomes as large as `wanted`; errors call it `what`.

        Raises:
            UserError: That is too large for this way.
        """

    @abstractmethod
    def memory_needed(self, width: int, height: int, plan: Plan) -> int:
        """Return about how many bytes a picture of `width` x `height` pixels needs beside the networks."""

    @abstractmethod
    def enlarge(self, picture: Picture, plan: Plan) -> tuple[Image.Image, str]:
        """Return the picture in its size, with what there is to say about it, or nothing."""


@dataclass
class LatentWay(Way):
    """An adapter between the encoder and the decoder of a codec."""

    adapter: LatentUpscaler
    codec: LatentCodec
    tile: int | None = 1024
    tell_loss: bool = False
    """Whether to measure what the codec alone loses of each picture, which decodes its own latents too."""

    def plan(self, width: int, height: int, wanted: Target, what: str = "the picture") -> Plan:
        return plan_size(width, height, wanted, scales_for(self.adapter, wanted), what)

    def memory_needed(self, width: int, height: int, plan: Plan) -> int:
        return memory_needed(width, height, int(plan.scale), self.tile or LONGEST_SIDE)

    @torch.inference_mode()
    def enlarge(self, picture: Picture, plan: Plan) -> tuple[Image.Image, str]:
        height, width = picture.pixels.shape[:2]
        scale = int(plan.scale)
        side = tile_in_latents(self.codec, self.tile) if self.tile else max(height, width) * scale
        latents = encode_pixels(self.codec, picture.pixels, side)
        remark = ""
        if self.tell_loss:
            loss = round_trip_psnr(self.codec, latents, picture.pixels, side)
            remark = f"; {self.codec.source} alone keeps {loss:.1f} dB of the picture"
        latents = upscale_latents(self.adapter, self.codec, latents, scale, tile=side // scale)  # pyright: ignore
        warn_of_range(self.adapter, self.codec, latents)
        return fit(_canvas(_decoded(self.codec, latents, side), plan), picture.alpha, plan), remark


@dataclass
class PixelWay(Way):
    """A network that enlarges pixels (`PixelUpscaler`), or bicubic enlargement where there is none."""

    upscaler: PixelUpscaler | None
    device: str | torch.device = "cpu"
    network: Callable[[Tensor, int], Tensor] | None = None
    """Loaded with the first picture."""

    def plan(self, width: int, height: int, wanted: Target, what: str = "the picture") -> Plan:
        if self.upscaler is not None:
            return plan_size(width, height, wanted, self.upscaler.scales, what, "the network")
        whole, size = fitted(width, height, wanted)
        return Plan(max(whole[0] / width, whole[1] / height), whole, whole, size)

    def memory_needed(self, width: int, height: int, plan: Plan) -> int:
        return PER_INPUT * width * height + PER_RESULT * math.prod(plan.enlarged) + PER_RESULT * math.prod(plan.whole)

    @torch.inference_mode()
    def enlarge(self, picture: Picture, plan: Plan) -> tuple[Image.Image, str]:
        if self.upscaler is None:
            whole = Image.fromarray(picture.pixels).resize(plan.whole, Image.Resampling.BICUBIC)
            return fit(whole, picture.alpha, plan), ""
        if self.network is None:
            self.network = self.upscaler.load(self.device)
        network, scale = self.network, int(plan.scale)
        planes = torch.from_numpy(np.ascontiguousarray(picture.pixels.transpose(2, 0, 1)[None]))

        def enlarge(part: Tensor) -> Tensor:
            return network(part.to(self.device).float().div(127.5).sub(1), scale)

        parts = bands(enlarge, planes, scale, PIXEL_TILE, PIXEL_OVERLAP)
        return fit(_canvas(parts, plan), picture.alpha, plan), ""


@torch.inference_mode()
def decode_as(codec: LatentCodec, latents: Tensor, plan: Plan, tile: int) -> Image.Image:
    """Return the picture of enlarged normalised latents (1, C, H, W), decoded in tiles of `tile` pixels, as planned."""
    return fit(_canvas(_decoded(codec, latents, tile_in_latents(codec, tile)), plan), None, plan)


def _decoded(codec: LatentCodec, latents: Tensor, side: int) -> Iterator[Tensor]:
    """Yield the images (1, 3, h, W), around [-1, 1], of latents (1, C, H, W) from top to bottom."""

    def decode(part: Tensor) -> Tensor:
        return codec.decode(part, tile=max(part.shape[-2:]))  # at once: it is a tile

    return bands(decode, latents, codec.downscale, side, OVERLAP, codec.shift.shape[-1], codec.decoder_reach)


def fit(image: Image.Image, alpha: np.ndarray | None, plan: Plan) -> Image.Image:
    """Return an enlarged picture reduced by antialiased bicubic and cut as planned, with the transparency it had."""
    if image.size != plan.whole:
        image = image.resize(plan.whole, Image.Resampling.BICUBIC)
    if plan.size != plan.whole:
        image = image.crop(plan.box)
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha).resize(plan.whole, Image.Resampling.BICUBIC).crop(plan.box))
    return image


def _canvas(parts: Iterator[Tensor], plan: Plan) -> Image.Image:
    """Return the picture whose rows are `parts` (1, 3, h, W) in [-1, 1], cut to `plan.enlarged`."""
    canvas, top = Image.new("RGB", plan.enlarged), 0
    for band in parts:
        top = _paste(canvas, band, top)
        del band  # it need not wait for the next one
    return canvas


def _paste(canvas: Image.Image, band: Tensor, top: int) -> int:
    """Write a band (1, 3, h, W) in [-1, 1] into the canvas at row `top`, and return the row below it."""
    for part in band[..., : canvas.width].split(ROWS_AT_ONCE, dim=-2):
        canvas.paste(Image.fromarray(to_uint8(part)), (0, top))
        top += part.shape[-2]
    return top


@torch.inference_mode()
def encode_pixels(codec: LatentCodec, pixels: np.ndarray, side: int) -> Tensor:
    """Return normalised latents (1, C, h, w) of uint8 pixels (H, W, 3), encoded in tiles of `side` latents.

    The picture is extended to whole latents by repeating its border.
    """
    unit, cell = codec.downscale, codec.shift.shape[-1]
    height, width = pixels.shape[:2]
    grid = unit * cell
    padded = np.pad(pixels, ((0, -height % grid), (0, -width % grid), (0, 0)), mode="edge")
    planes = torch.from_numpy(padded.transpose(2, 0, 1)[None])

    def encode(part: Tensor) -> Tensor:
        return codec.encode(part.to(codec.device).float().div(127.5).sub(1))

    reach = None if codec.encoder_reach is None else codec.encoder_reach * unit
    return tiled(encode, planes, Fraction(1, unit), side * unit, OVERLAP * unit, cell, reach)


@torch.inference_mode()
def round_trip_psnr(codec: LatentCodec, latents: Tensor, pixels: np.ndarray, side: int) -> float:
    """Return the PSNR in dB between pixels (H, W, 3), uint8, and what the codec decodes from their latents.

    Args:
        codec: Decodes.
        latents: What `encode_pixels` made of the pixels.
        pixels: The picture.
        side: Of the tiles, in latents.
    """
    height, width = pixels.shape[:2]
    error, top = 0.0, 0
    for band in _decoded(codec, latents, side):
        for part in band[..., :width].split(ROWS_AT_ONCE, dim=-2):
            found = to_uint8(part)[: height - top].astype(np.float64)
            error += float(np.square(found - pixels[top : top + len(found)]).sum())
            top += len(found)
    mean = error / pixels.size
    return 10 * math.log10(255**2 / mean) if mean else math.inf


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
