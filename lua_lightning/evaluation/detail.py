"""Metrics of each image alone, which need neither a photograph nor a network.

Those of detail say how much is there, not whether it is right: noise scores high. Read them beside a distance.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores, intervals
from lua_lightning.evaluation.seams import tile_seam
from lua_lightning.pictures import read_image

LEVELS, PATCH = 64, 64  # grey levels of a co-occurrence matrix; side of a patch in pixels
RADII, ANGLES = (1, 2, 3, 4), (0, 45, 90, 135)  # pixels, degrees


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return uint8 pixels (H, W, 3) as 8-bit luma (H, W), ITU-R 601-2."""
    return np.asarray(Image.fromarray(pixels).convert("L"))


def sharpness(pixels: np.ndarray) -> float:
    """Return the variance of the Laplacian of the luma, as `cv2.Laplacian(luma, cv2.CV_64F).var()` gives it.

    Args:
        pixels: uint8 (H, W, 3), at least 2 pixels a side.
    """
    padded = np.pad(grey(pixels).astype(float), 1, mode="reflect")
    centre = padded[1:-1, 1:-1]
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float((around - 4 * centre).var())


def glcm(pixels: np.ndarray) -> float:
    """Return the mean entropy in bits of the grey-level co-occurrence matrices of patches of 64 px.

    The score is that of arXiv 2503.18352: 64 grey levels, radii of 1 to 4 pixels, four directions, and patches that do
    not overlap. Offsets are rounded as scikit-image's `graycomatrix` rounds them.

    Args:
        pixels: uint8 (H, W, 3), at least 64 pixels a side; what is left of the last patch does not count.

    Returns:
        From 0, one grey level everywhere, to 12, every pair of levels as frequent.

    Raises:
        UserError: The image is smaller than a patch, so it has no co-occurrence matrix.
    """
    if min(pixels.shape[:2]) < PATCH:
        raise UserError(f"an image has a side below the {PATCH} px of a patch: take larger images")
    luma = grey(pixels) // (256 // LEVELS)
    rows, columns = (side // PATCH for side in luma.shape)
    patches = luma[: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
    patches = patches.swapaxes(1, 2).reshape(-1, PATCH, PATCH).astype(np.int64)
    return float(np.mean([_entropies(patches, radius, angle) for radius in RADII for angle in ANGLES]))


def _entropies(patches: np.ndarray, radius: int, angle: int) -> np.ndarray:
    """Return the entropy of each patch's co-occurrence matrix at one offset, (P,), from levels (P, 64, 64)."""
    down = round(np.sin(np.deg2rad(angle)) * radius)
    right = round(np.cos(np.deg2rad(angle)) * radius)
    inner = slice(max(0, -right), PATCH - max(0, right))
    outer = slice(max(0, right), PATCH - max(0, -right))
    pairs = patches[:, : PATCH - down, inner] * LEVELS + patches[:, down:, outer]
    found = []
    for codes in pairs.reshape(len(pairs), -1):
        share = np.bincount(codes) / codes.size
        share = share[share > 0]
        found.append(-(share * np.log2(share)).sum())
    return np.array(found)


def clipped(pixels: np.ndarray) -> float:
    """Return the share of values at the ends of the range, 0 or 255, of uint8 pixels (H, W, 3).

    A saved image cannot hold what lay beyond: values that a decoder put out of range end there.
    """
    return float(((pixels == 0) | (pixels == 255)).mean())


DETAIL: dict[str, Callable[[np.ndarray], float]] = {
    "sharpness": sharpness,
    "glcm": glcm,
    "tile_seam": tile_seam,
    "clipped": clipped,
}
"""The functions of the metrics of single images, by key: a score of uint8 pixels (H, W, 3)."""


def image_metrics(files: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return the mean of each metric of `DETAIL` over image files, with its interval over images.

    A metric that one of the images has not, such as seams in a single tile, is `unavailable`.
    """
    crops: list[CropScores] = []
    reasons: dict[str, str] = {}
    for index, file in enumerate(files):
        pixels, values = read_image(file), {}
        for name, measure in DETAIL.items():
            try:
                values[f"x/{name}"] = measure(pixels)
            except UserError as error:
                reasons[name] = str(error)
        crops.append(CropScores(index, index, values))
    known = [f"x/{name}" for name in DETAIL if name not in reasons]
    crops = [CropScores(crop.sample, crop.photo, {name: crop.values[name] for name in known}) for crop in crops]
    found = {name.removeprefix("x/"): estimate.entry() for name, estimate in intervals(crops).items()}
    return {name: found[name] if name in found else {"unavailable": reasons[name]} for name in DETAIL}
