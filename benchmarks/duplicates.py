"""Near-duplicates between photographs, by perceptual hashes: what training saw must not be what a benchmark judges."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lua_lightning.files import replacing
from lua_lightning.pairs.photos import Photo, PhotoSet

GRID = 8  # rows and columns of comparisons
NEAR = 10  # bits of 64 that near-duplicates differ by at most; unrelated photographs differ by about 32
LISTED = 20  # pairs that are named


def difference_hash(pixels: np.ndarray) -> np.ndarray:
    """Return the 64 bits of dHash of uint8 pixels (H, W, 3), as booleans (64,).

    The luma is reduced to 8 rows of 9 values; a bit says whether a value is larger than the one to its left. It hardly
    changes with size, compression, brightness or small retouches.
    """
    small = Image.fromarray(pixels).convert("L").resize((GRID + 1, GRID), Image.Resampling.LANCZOS)
    values = np.asarray(small).astype(int)
    return (values[:, 1:] > values[:, :-1]).ravel()


@dataclass(frozen=True)
class Near:
    """A training photograph and a judging one that look alike."""

    train: str
    """File of the training photograph."""
    judged: str
    """File of the judging one."""
    bits: int
    """Bits that their hashes differ by, the mirrored one counted too."""


def near_duplicates(photos: PhotoSet, cache: Path = Path("cache/hashes")) -> dict[str, Any]:
    """Return how the training photographs of a set compare with its test photographs.

    Returns:
        `train` and `judged`, their counts; `near`, the number of pairs that differ by at most `threshold` of 64 bits,
        as they are or mirrored; `closest`, the smallest difference; `pairs`, the first 20 with their files.
    """
    train, judged = photos.split("train"), photos.split("test")
    if not train or not judged:
        return {"train": len(train), "judged": len(judged), "threshold": NEAR, "near": 0, "closest": None, "pairs": []}
    ours, theirs = (np.stack([_hashes(photos, photo, cache) for photo in split]) for split in (train, judged))
    found, closest = [], GRID * GRID
    for photo, (unmirrored, _) in zip(train, ours, strict=True):
        bits = (theirs != unmirrored).sum(2).min(1)
        closest = min(closest, int(bits.min()))
        found += [Near(photo.file, judged[place].file, int(bits[place])) for place in np.flatnonzero(bits <= NEAR)]
    found.sort(key=lambda pair: pair.bits)
    return {
        "train": len(train),
        "judged": len(judged),
        "threshold": NEAR,
        "near": len(found),
        "closest": closest,
        "pairs": [asdict(pair) for pair in found[:LISTED]],
    }


def _hashes(photos: PhotoSet, photo: Photo, cache: Path) -> np.ndarray:
    """Return the hash of a photograph and of its mirror image, (2, 64), from `cache` where it was computed before."""
    path = cache / f"{photo.sha256[:32]}.npy"
    if path.is_file():
        return np.load(path)
    pixels = photos.read(photo)
    hashes = np.stack([difference_hash(pixels), difference_hash(np.ascontiguousarray(pixels[:, ::-1]))])
    with replacing(path) as partial, partial.open("wb") as file:
        np.save(file, hashes)
    return hashes
