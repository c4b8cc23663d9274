"""The picture of close-ups: what methods make of the same low-resolution latents, on the benchmark's own crops."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from baselines.contract import World
from benchmarks.benchmark import Benchmark
from benchmarks.reconstruction import crop_image, enlarged
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, LUA, PIXEL_BICUBIC
from lua_lightning.images import downscale, to_uint8
from lua_lightning.pairs.crops import STEP, detail_map

SHOWN = ("onestandsout.png", "picture-0b-by-freespace.png", "bridge-by-sander-klootwijk.png")
METHODS = (LATENT_BICUBIC, PIXEL_BICUBIC, LUA, CEILING)
LOW, HIGH = "LR photograph", "HR photograph"
CLOSE_UP, MARGIN, TITLE = 160, 6, 24  # pixels


def close_ups(benchmark: Benchmark) -> Image.Image:
    """Return each shown photograph's most detailed close-up by each method side by side, one row per photograph."""
    world, photos = benchmark.world("cpu"), benchmark.photos.photos
    wanted = {}
    for crop in benchmark.crops():
        wanted.setdefault(Path(photos[crop.photo].file).name, crop)
    columns, step = (LOW, *METHODS, HIGH), CLOSE_UP + MARGIN
    sheet = Image.new("RGB", (len(columns) * step, len(SHOWN) * step + TITLE), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, name in enumerate(columns):
        draw.text((column * step + 4, 3), name, fill="black", font=font)
    for row, name in enumerate(SHOWN):
        image = crop_image(benchmark, wanted[name])
        detail = detail_map(image, CLOSE_UP)
        top, left = (STEP * position for position in divmod(int(detail.argmax()), detail.shape[1]))
        for column, method in enumerate(columns):
            whole = _column(benchmark, world, method, image)
            part = whole[..., top : top + CLOSE_UP, left : left + CLOSE_UP].clamp(-1, 1)
            sheet.paste(Image.fromarray(to_uint8(part)), (column * step, TITLE + row * step))
    return sheet


def _column(benchmark: Benchmark, world: World, name: str, image: Tensor) -> Tensor:
    if name == HIGH:
        return image
    if name == LOW:
        small = downscale(image, benchmark.scale)
        return torch.nn.functional.interpolate(small, scale_factor=benchmark.scale, mode="nearest")
    return enlarged(benchmark, world, name, image)
