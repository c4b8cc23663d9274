"""The picture of close-ups: what an adapter and its rivals make of the same low-resolution latents.

The crops are chosen by a rule, not by eye: those whose gain over bicubic enlargement is the median at each scale, and
those at its quartiles at x2. Of each, the most detailed close-up is shown.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.zoo_check import config_of
from lua_lightning.evaluation.registry import METRICS
from lua_lightning.evaluation.rows import CEILING, LUA, PIXEL_BICUBIC, ROWS
from lua_lightning.evaluation.scoring import adapter_scores, reference
from lua_lightning.images import to_uint8
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.crops import STEP, detail_map
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pixel_upscalers import find_pixel_upscaler

RULE = ((2, 0.25), (2, 0.5), (2, 0.75), (4, 0.5))  # scale, and the place in the order of gains
RIVAL, PHOTO = "dat-light", "photograph"
COLUMNS = (PIXEL_BICUBIC, RIVAL, LUA, CEILING, PHOTO)
SIDE, ZOOM, MARGIN, TITLE = 88, 2, 6, 20  # pixels; a close-up of SIDE is shown ZOOM times as large


class Shown(NamedTuple):
    """A crop of the picture."""

    scale: int
    gain: float
    """Over bicubic enlargement, in dB."""
    images: dict[str, Tensor]
    """Its image (1, 3, H, W) in [-1, 1] by column."""


def close_ups(adapter: str, photos: str) -> Image.Image:
    """Return the close-ups of an adapter of the zoo and its rivals side by side, one row per crop.

    Args:
        adapter: Its name.
        photos: Folder of the photo set whose test photographs are shown.
    """
    config = config_of(adapter, photos)
    network, codec = LatentUpscaler.from_pretrained(adapter), LatentCodec.from_pretrained(config.cache.codec)
    pairs = PairDataset(build_cache(config.cache, PhotoSet.load(photos), codec), "test")
    return _sheet([_shown(network, codec, pairs, scale, place) for scale, place in RULE])


def _shown(network: LatentUpscaler, codec: LatentCodec, pairs: PairDataset, scale: int, place: float) -> Shown:
    gains = [_measured(network, codec, pairs, index, scale)[0] for index in range(len(pairs))]
    chosen = int(np.argsort(gains)[round(place * (len(gains) - 1))])
    gain, images = _measured(network, codec, pairs, chosen, scale)
    batch = _batch(pairs, chosen)
    rival = find_pixel_upscaler(RIVAL)
    assert rival is not None
    with torch.inference_mode():
        images[RIVAL] = rival.load("cpu")(codec.decode(batch[f"lr_x{scale}"]).clamp(-1, 1), scale)
    return Shown(scale, gain, {**images, PHOTO: batch["image"]})


def _measured(
    network: LatentUpscaler, codec: LatentCodec, pairs: PairDataset, index: int, scale: int
) -> tuple[float, dict[str, Tensor]]:
    """Return a crop's gain in dB, and its images by row."""
    batch, (key,) = _batch(pairs, index), METRICS["psnr"].keys
    rivals = reference(codec, batch, scale)
    image, scores = adapter_scores(network, codec, batch, scale)
    gain = float(scores[key][0] - rivals.scores[f"{key}{ROWS[PIXEL_BICUBIC].suffix}"][0])
    return gain, {**rivals.images, LUA: image}


def _batch(pairs: PairDataset, index: int) -> dict[str, Any]:
    return {name: value[None] if isinstance(value, Tensor) else [value] for name, value in pairs[index].items()}


def _sheet(rows: list[Shown]) -> Image.Image:
    step, high = SIDE * ZOOM + MARGIN, SIDE * ZOOM + TITLE
    sheet = Image.new("RGB", (len(COLUMNS) * step - MARGIN, len(rows) * high + TITLE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, name in enumerate(COLUMNS):
        draw.text((column * step + 2, 2), name, fill="black", font=font)
    for row, shown in enumerate(rows):
        detail = detail_map(shown.images[PHOTO], SIDE)
        top, left = (STEP * position for position in divmod(int(detail.argmax()), detail.shape[1]))
        text = f"x{shown.scale}: {LUA} gains {shown.gain:+.2f} dB on this crop"
        draw.text((2, TITLE + row * high), text, fill="black", font=font)
        for column, name in enumerate(COLUMNS):
            part = shown.images[name][..., top : top + SIDE, left : left + SIDE].clamp(-1, 1)
            large = Image.fromarray(to_uint8(part)).resize((SIDE * ZOOM, SIDE * ZOOM), Image.Resampling.NEAREST)
            sheet.paste(large, (column * step, 2 * TITLE + row * high))
    return sheet
