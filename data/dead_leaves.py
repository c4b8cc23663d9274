"""Recipe `dead-leaves`: discs that fall over one another, an image model with the statistics of natural scenes.

Lee, Mumford and Huang, "Occlusion models for natural images", IJCV 2001: with radii from a power law r^-3 the result
is nearly scale invariant, as photographs are.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.candidates import Candidate, Harvest
from data.options import at_least

SUPERSAMPLING = 2
UNCOVERED = 1e-6


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add how many images, how large, and from which seed."""
    parser.add_argument("--count", type=at_least(1), default=24, help="dead-leaves images to draw")
    parser.add_argument("--size", type=at_least(32), default=1024, help="their side in pixels")
    parser.add_argument("--seed", type=at_least(0), default=0, help="their seed")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options; they determine every byte."""
    return {"count": options.count, "size": options.size, "seed": options.seed}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """Draw the images into `work`."""
    harvest = Harvest()
    for index in range(options.count):
        name = f"dead-leaves-{options.seed}-{index:04d}"
        path = work / f"{name}.bmp"  # no compression: the bytes, which decide the split, depend on no library's version
        Image.fromarray(dead_leaves(options.size, [options.seed, index])).save(path)
        source = f"dead-leaves:size={options.size}:seed={options.seed}:index={index}"
        harvest.candidates.append(Candidate(path, source, "CC0-1.0", "drawn by this recipe"))
    return harvest


def dead_leaves(
    size: int, seed: int | list[int], min_radius: float = 3.0, max_radius: float | None = None
) -> np.ndarray:
    """Return one dead-leaves image, uint8 of shape (size, size, 3).

    Args:
        size: Side in pixels.
        seed: Of numpy's default generator.
        min_radius: Smallest disc in pixels. The r^-3 law has no scale of its own, so the image shows this one.
        max_radius: Largest disc in pixels; by default a quarter of the side.
    """
    generator = np.random.default_rng(seed)
    fine = size * SUPERSAMPLING
    low, high = min_radius * SUPERSAMPLING, (max_radius or size / 4) * SUPERSAMPLING
    leaf = np.zeros((fine, fine), dtype=np.int32)  # leaf 0 lies behind all others
    leaves = 0
    for x, y, radius in _fall(generator, fine, low, high):
        leaves += 1
        left, right = max(int(x - radius), 0), min(int(x + radius) + 2, fine)
        top, bottom = max(int(y - radius), 0), min(int(y + radius) + 2, fine)
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - y
        columns = np.arange(left, right, dtype=np.float32)[None] - x
        np.copyto(leaf[top:bottom, left:right], leaves, where=rows * rows + columns * columns <= radius * radius)
    colours = _colours(generator, leaves + 1)[leaf]
    return colours.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, 3).mean((1, 3)).round().astype(np.uint8)


def _fall(generator: np.random.Generator, side: int, low: float, high: float) -> Iterator[tuple[float, float, float]]:
    """Yield x, y and radius of the discs that touch the image, the last to fall on top.

    Centres are uniform over the image and a margin of the largest radius, so that borders look like the middle. There
    are as many discs as leave a share of `UNCOVERED` of the points bare, by the mean area of a disc.
    """
    extent = side + 2 * high
    mean_area = 2 * np.pi * np.log(high / low) / (low**-2 - high**-2)
    count = int(np.log(1 / UNCOVERED) * extent**2 / mean_area)
    x, y = generator.uniform(-high, side + high, (2, count))
    # Inverse of the cumulative distribution of p(r) ~ r^-3 between low and high.
    radius = (low**-2 - generator.uniform(size=count) * (low**-2 - high**-2)) ** -0.5
    touches = (x > -radius) & (x < side + radius) & (y > -radius) & (y < side + radius)
    return zip(x[touches].tolist(), y[touches].tolist(), radius[touches].tolist(), strict=True)


def _colours(generator: np.random.Generator, count: int) -> np.ndarray:
    """Return colours as photographs have them: mostly muted, and spread widest from blue to orange."""
    brightness = generator.beta(1.2, 1.6, count)
    warm, green = generator.laplace(0, 0.09, count), generator.laplace(0, 0.04, count)
    red, blue = brightness + warm - green / 2, brightness - warm - green / 2
    return np.stack([red, brightness + green, blue], axis=1).clip(0, 1).astype(np.float32) * 255
