"""Turn originals into stored photographs: near-duplicates out, reduced until sharp, split by hash."""

import hashlib
import math
import re
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from data.candidates import Candidate, Harvest, Sharpness
from lua_lightning.errors import UserError
from lua_lightning.images import UnusableImage, downscale, resize, to_tensor, write_image
from lua_lightning.pairs.photos import Photo, Skipped, Split, file_sha256, split_by_hash
from lua_lightning.pairs.places import placed_sha256
from lua_lightning.pictures import read_picture

TILE = 128
REDUCTION_STEP = math.sqrt(2)
DUPLICATE_BITS = 4
BITS_SET = np.array([bin(byte).count("1") for byte in range(256)])
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


@dataclass(frozen=True)
class _Prepared:
    candidate: Candidate
    file: str
    fingerprint: np.ndarray
    source_sha256: str
    original_pixels: int
    width: int
    height: int
    reduced_by: float
    softness: float


def prepare(
    harvest: Harvest,
    folder: Path,
    sharpness: Sharpness,
    fractions: tuple[float, float],
    workers: int,
    by_author: bool = False,
) -> tuple[list[Photo], list[Skipped]]:
    """Write the usable candidates into `folder` as 8-bit RGB PNG.

    Args:
        harvest: The candidates.
        folder: Receives the files.
        sharpness: When to reduce a photograph, and when to leave it out.
        fractions: Shares of the splits `val` and `test`.
        workers: Images at once.
        by_author: Whether all new photographs of an author go to one split, see `split_by_author`.

    Returns:
        The photographs in the order of their file names, and all that was left out.

    Raises:
        UserError: Fewer than two candidates are usable; the sentence says what was found.
    """
    names = _file_names(harvest.candidates)
    # Threads, not processes: decoding, resizing and compressing all run outside the interpreter's lock.
    with ThreadPoolExecutor(workers) as pool:
        prepare_one = partial(_prepare_one, folder=folder, sharpness=sharpness)
        results = list(pool.map(prepare_one, harvest.candidates, names))
    prepared, duplicates = _without_duplicates([result for result in results if isinstance(result, _Prepared)])
    for result, _ in duplicates:
        (folder / result.file).unlink(missing_ok=True)  # there is none of what stays in its archive
    skipped = harvest.skipped + [result for result in results if isinstance(result, Skipped)]
    skipped += [Skipped(result.candidate.source, reason) for result, reason in duplicates]
    if len(prepared) < 2:
        raise UserError(_nothing_usable(len(harvest.candidates), len(prepared), skipped))
    splits = _splits(prepared, fractions, by_author)
    photos = [_photo(result, split, folder) for result, split in zip(prepared, splits, strict=True)]
    return sorted(photos, key=lambda photo: photo.file), skipped


def _splits(prepared: list[_Prepared], fractions: tuple[float, float], by_author: bool) -> list[Split]:
    """Return the split of each photograph: the one it has in a set already, or by its hash among the others."""
    new = [result for result in prepared if not result.candidate.stored]
    facts = [(result.source_sha256, result.softness) for result in new]
    splits: list[Split] = []
    if by_author and new:
        splits = split_by_author(facts, [result.candidate.author for result in new], fractions)
    elif new:
        splits = split_by_hash(facts, *fractions)
    drawn = iter(splits)
    return [result.candidate.stored.split if result.candidate.stored else next(drawn) for result in prepared]


def split_by_author(
    originals: list[tuple[str, float]], authors: Sequence[str | None], fractions: tuple[float, float]
) -> list[Split]:
    """Return splits in which no author stands on two sides: their subjects and their manner would be known.

    The authors are drawn as `split_by_hash` draws photographs, each with the smallest of their hashes and the mean of
    their softness, so that shares are of authors. An author of more than twice a share of all photographs is trained
    on. With fewer than three others, which cannot be split, each photograph is drawn by itself.

    Args:
        originals: As `split_by_hash` takes them.
        authors: Of each photograph; None where unknown, who is nobody else.
        fractions: Shares of `val` and `test`.
    """
    groups: dict[str | int, list[int]] = {}
    for index, author in enumerate(authors):
        groups.setdefault(author or index, []).append(index)
    most = max(1, round(2 * max(fractions) * len(originals)))
    units = [unit for unit in groups.values() if len(unit) <= most]
    if len(units) < 3:
        return split_by_hash(originals, *fractions)
    share = len(originals) / sum(map(len, units))
    facts = [(min(originals[n][0] for n in unit), statistics.fmean(originals[n][1] for n in unit)) for unit in units]
    found: list[Split] = ["train"] * len(originals)
    for unit, side in zip(units, split_by_hash(facts, *(share * part for part in fractions)), strict=True):
        for index in unit:
            found[index] = side
    return found


def softness(luminance: Tensor) -> float:
    """Return how well bicubic alone restores an image, as PSNR in dB: high is soft, low is sharp.

    The image is halved and doubled again. The PSNR counts the quarter of the 128 px tiles that lose most, so that sky
    and blurred background do not decide.

    Args:
        luminance: Shape (1, 1, H, W), in [-1, 1].
    """
    height, width = luminance.shape[-2:]
    tile = min(TILE, height, width) // 2 * 2
    luminance = luminance[..., : height // tile * tile, : width // tile * tile]
    restored = resize(downscale(luminance, 2), (luminance.shape[-2], luminance.shape[-1]))
    losses = F.avg_pool2d((restored - luminance).square(), tile).flatten()
    worst = losses.topk(max(1, len(losses) // 4)).values.mean().item()
    return 10 * math.log10(4 / max(worst, 1e-10))


def find_sharp_size(luminance: Tensor, sharpness: Sharpness) -> tuple[float, float]:
    """Return by how much to reduce an image, in steps of sqrt(2), and its softness then.

    That is the first size to reach the target; where none does before the short side falls below `min_side`, the
    sharpest of those tried (grain and coarse subjects do not always gain from being reduced).
    """
    short_side = min(luminance.shape[-2:])
    tried = []
    reduced_by = 1.0
    while round(short_side / reduced_by) >= sharpness.min_side or not tried:
        smaller = downscale(luminance, reduced_by) if tried else luminance
        tried.append((reduced_by, softness(smaller)))
        if tried[-1][1] <= sharpness.target_softness:
            return tried[-1]
        reduced_by = REDUCTION_STEP ** len(tried)
    return min(tried, key=lambda size: size[1])


def fingerprint(luminance: Tensor) -> np.ndarray:
    """Return the 64-bit difference hash of an image, 8 bytes, nearly the same for one picture at any size.

    Each bit says whether one cell of an 8x9 thumbnail is brighter than its right-hand neighbour (dHash, N. Krawetz).
    """
    thumbnail = resize(luminance, (8, 9))[0, 0]
    return np.packbits((thumbnail[:, :-1] > thumbnail[:, 1:]).numpy())


def _prepare_one(candidate: Candidate, file: str, *, folder: Path, sharpness: Sharpness) -> _Prepared | Skipped:
    try:
        content = candidate.place.read() if candidate.place else None
        picture = read_picture(candidate.path, content)
    except UnusableImage as error:
        return Skipped(candidate.source, error.reason)
    if picture.alpha is not None:
        return Skipped(candidate.source, "has transparent places, so it is no photograph: put it on a background first")
    array = picture.pixels
    height, width = array.shape[:2]
    if min(height, width) < sharpness.min_side:
        return Skipped(
            candidate.source, f"too small: {width}x{height} pixels, short side below --min-side {sharpness.min_side}"
        )
    images = to_tensor(array)
    luminance = (images * LUMA).sum(1, keepdim=True)
    if candidate.stored:
        if content is None:
            shutil.copyfile(candidate.path, folder / file)
        return _Prepared(candidate, file, fingerprint(luminance), **_facts(candidate.stored))
    reduced_by, left_soft = find_sharp_size(luminance, sharpness)
    if left_soft > sharpness.max_softness:
        return Skipped(candidate.source, f"soft at every size: bicubic alone restores it to {left_soft:.1f} dB")
    if reduced_by > 1:
        images = downscale(images, reduced_by)
    if content is None:
        write_image(folder / file, images)
    return _Prepared(
        candidate=candidate,
        file=file,
        source_sha256=file_sha256(candidate.path) if content is None else hashlib.sha256(content).hexdigest(),
        fingerprint=fingerprint(luminance),
        original_pixels=height * width,
        width=images.shape[-1],
        height=images.shape[-2],
        reduced_by=round(reduced_by, 4),
        softness=round(left_soft, 2),
    )


def _facts(stored: Photo) -> dict[str, Any]:
    kept = {name: getattr(stored, name) for name in ("source_sha256", "width", "height", "reduced_by", "softness")}
    return {**kept, "original_pixels": round(stored.width * stored.height * stored.reduced_by**2)}


def _file_names(candidates: list[Candidate]) -> list[str]:
    names: dict[str, None] = {}  # a set that keeps its order
    for candidate in candidates:
        stem = re.sub(r"[^a-z0-9]+", "-", (candidate.name or candidate.path.stem).lower()).strip("-") or "image"
        suffix = candidate.path.suffix.lower() if candidate.place else ".png"
        name, number = f"{stem}{suffix}", 1
        while name in names:
            number += 1
            name = f"{stem}-{number}{suffix}"
        names[name] = None
    return list(names)


def _without_duplicates(prepared: list[_Prepared]) -> tuple[list[_Prepared], list[tuple[_Prepared, str]]]:
    """Keep one of the pictures whose fingerprints differ in few bits: one held out already, or that of most pixels."""
    kept: list[_Prepared] = []
    fingerprints = np.empty((len(prepared), 8), dtype=np.uint8)
    duplicates: list[tuple[_Prepared, str]] = []

    def rank(result: _Prepared) -> tuple[bool, int, str]:
        stored = result.candidate.stored
        return not (stored and stored.split != "train"), -result.original_pixels, result.candidate.source

    for result in sorted(prepared, key=rank):
        differing_bits = BITS_SET[fingerprints[: len(kept)] ^ result.fingerprint].sum(1)
        twins = np.flatnonzero(differing_bits <= DUPLICATE_BITS)
        if len(twins):
            twin = kept[twins[0]].candidate.source
            duplicates.append((result, f"near-duplicate: the same picture as {twin}"))
        else:
            fingerprints[len(kept)] = result.fingerprint
            kept.append(result)
    return kept, duplicates


def _photo(result: _Prepared, split: Split, folder: Path) -> Photo:
    place, size = result.candidate.place, (result.width, result.height)
    return Photo(
        file=result.file,
        source=result.candidate.source,
        licence=result.candidate.licence,
        author=result.candidate.author,
        sha256=placed_sha256(result.source_sha256, *size, reduced=result.reduced_by > 1)
        if place
        else file_sha256(folder / result.file),
        source_sha256=result.source_sha256,
        width=result.width,
        height=result.height,
        split=split,
        reduced_by=result.reduced_by,
        softness=result.softness,
        place=place,
    )


def _nothing_usable(found: int, usable: int, skipped: list[Skipped]) -> str:
    reasons = "; ".join(f"{image.source}: {image.reason}" for image in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"{found} images found, {usable} usable, and at least 2 are needed ({reasons or 'no files at all'}{more})"
