"""Which crops of which photographs become pairs, in a fixed order."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

import torch

from lua_lightning.data_config import CacheConfig
from lua_lightning.images import downscale, to_tensor
from lua_lightning.pairs.ahead import ahead
from lua_lightning.pairs.crops import draw_apart, draw_positions, grid_positions
from lua_lightning.pairs.photos import Photo, PhotoSet, Split


@dataclass(frozen=True)
class Crop:
    """One region of one photograph."""

    photo: int  # index into the photo set's list
    top: int
    left: int
    symmetry: int  # of the square, see `crops.dihedral`
    reduction: int = 1  # of the photograph, before the crop


def plan_crops(photos: PhotoSet, split: Split, config: CacheConfig) -> Iterator[Crop]:
    """Yield the crops of `split` in a fixed order; those not trained on are upright and do not overlap."""
    if split != "train":
        yield from held_out_crops(
            photos, split, config.crop_px, config.held_out_crops_per_photo, config.seed, config.held_out_photos
        )
        return
    chosen = _large_enough(photos, split, config.crop_px)
    yield from chain.from_iterable(ahead(partial(_training_crops, photos, config), chosen, config.workers))


def _training_crops(photos: PhotoSet, config: CacheConfig, chosen: tuple[int, Photo]) -> list[Crop]:
    """Return the crops of one photograph to train on."""
    index, photo = chosen
    if config.sampling == "grid":
        return [Crop(index, *place, 0) for place in grid_positions(photo.height, photo.width, config.crop_px)]
    image, generator = to_tensor(photos.read(photo)), _generator(config.seed, photo)
    fitting = [by for by in config.reductions if min(photo.width, photo.height) // by >= config.crop_px] or [1]
    found = []
    for number, reduction in enumerate(fitting):
        count = len(range(number, config.crops_per_photo, len(fitting)))
        reduced = downscale(image, reduction) if reduction > 1 else image
        positions = draw_positions(reduced, config.crop_px, count, generator) if count else []
        symmetries = torch.randint(8, (len(positions),), generator=generator).tolist()
        found += [
            Crop(index, *place, symmetry, reduction) for place, symmetry in zip(positions, symmetries, strict=True)
        ]
    return found


def held_out_crops(
    photos: PhotoSet, split: Split, side: int, per_photo: int, seed: int, most: int | None = None
) -> Iterator[Crop]:
    """Yield upright crops of the photographs of `split`, drawn by detail, none overlapping, in a fixed order.

    Args:
        photos: The photo set; photographs smaller than a crop are left out.
        split: Whose photographs.
        side: Side of a crop in pixels.
        per_photo: Crops of each photograph, at most.
        seed: Seed of the positions; each photograph adds its hash, so that others may join or leave the set.
        most: Photographs at most, those with the lowest hashes: a draw that does not depend on order or names.
    """
    chosen = list(_large_enough(photos, split, side))
    if most is not None:
        kept = {index for index, _ in sorted(chosen, key=lambda item: item[1].sha256)[:most]}
        chosen = [item for item in chosen if item[0] in kept]
    for index, photo in chosen:
        image = to_tensor(photos.read(photo))
        for top, left in draw_apart(image, side, per_photo, _generator(seed, photo)):
            yield Crop(index, top, left, 0)


def _large_enough(photos: PhotoSet, split: Split, side: int) -> Iterator[tuple[int, Photo]]:
    for index, photo in enumerate(photos.photos):
        if photo.split == split and min(photo.width, photo.height) >= side:
            yield index, photo


def _generator(seed: int, photo: Photo) -> torch.Generator:
    photo_seed = int(hashlib.sha256(f"{seed}{photo.sha256}".encode()).hexdigest()[:12], 16)
    return torch.Generator().manual_seed(photo_seed)
