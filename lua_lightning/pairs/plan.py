"""Which crops of which photographs become pairs, in a fixed order."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from lua_lightning.config import CacheConfig
from lua_lightning.images import read_image, to_tensor
from lua_lightning.pairs.crops import draw_apart, draw_positions, grid_positions
from lua_lightning.pairs.photos import PhotoSet, Split


@dataclass(frozen=True)
class Crop:
    """One region of one photograph."""

    photo: int  # index into the photo set's list
    top: int
    left: int
    symmetry: int  # of the square, see `crops.dihedral`


def plan_crops(photos: PhotoSet, split: Split, config: CacheConfig) -> Iterator[Crop]:
    """Yield the crops of `split` in a fixed order; those not trained on are upright and do not overlap."""
    for index, photo in enumerate(photos.photos):
        if photo.split != split or min(photo.width, photo.height) < config.crop_px:
            continue
        if split == "train" and config.sampling == "grid":
            positions = grid_positions(photo.height, photo.width, config.crop_px)
            yield from (Crop(index, top, left, 0) for top, left in positions)
            continue
        image = to_tensor(read_image(photos.path(photo)))
        seed = int(hashlib.sha256(f"{config.seed}{photo.sha256}".encode()).hexdigest()[:12], 16)
        generator = torch.Generator().manual_seed(seed)
        if split == "train":
            positions = draw_positions(image, config.crop_px, config.crops_per_photo, generator)
            symmetries = torch.randint(8, (len(positions),), generator=generator).tolist()
        else:
            positions = draw_apart(image, config.crop_px, config.held_out_crops_per_photo, generator)
            symmetries = [0] * len(positions)
        for (top, left), symmetry in zip(positions, symmetries, strict=True):
            yield Crop(index, top, left, symmetry)
