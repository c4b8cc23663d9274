"""Crops of photographs turned into the tensors of a shard: read and reduced ahead, encoded in batches."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from itertools import chain, groupby, islice

import numpy as np
import torch
from torch import Tensor

from lua_lightning.data_config import CacheConfig
from lua_lightning.images import downscale, to_tensor, to_uint8
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.ahead import ahead
from lua_lightning.pairs.crops import dihedral
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import Crop

SCALES = (2, 4)
ENCODED_AT_ONCE = 16  # crops on an accelerator; a CPU gains nothing from more than one
READ_AT_ONCE = 64  # crops of one photograph, which bounds what waits for the encoder


def encode_crops(
    photos: PhotoSet,
    crops: Sequence[Crop],
    codec: LatentCodec,
    through: LatentCodec | None,
    config: CacheConfig,
    pixels: bool,
) -> dict[str, Tensor]:
    """Return the tensors of one shard, as `encode_images` does, of crops that are read now."""
    with crop_images(photos, crops, config) as images:
        return encode_images(images, crops, codec, through, config, pixels)


@contextmanager
def crop_images(photos: PhotoSet, crops: Iterable[Crop], config: CacheConfig) -> Iterator[Iterator[Tensor]]:
    """Yield an iterator of crops (1, 3, crop_px, crop_px) in [-1, 1], which `config.workers` threads read ahead."""
    reader = ahead(partial(read_crops, photos, crop_px=config.crop_px), same_photo(crops), config.workers)
    try:
        yield chain.from_iterable(reader)
    finally:
        reader.close()  # pyright: ignore[reportAttributeAccessIssue] (a generator)


def same_photo(crops: Iterable[Crop]) -> Iterator[list[Crop]]:
    """Yield neighbours that are cut out of one photograph at one size, at most `READ_AT_ONCE` at a time."""
    for _, group in groupby(crops, key=lambda crop: (crop.photo, crop.reduction)):
        while together := list(islice(group, READ_AT_ONCE)):
            yield together


def read_crops(photos: PhotoSet, crops: Sequence[Crop], crop_px: int) -> list[Tensor]:
    """Return crops (1, 3, crop_px, crop_px) of one photograph at one size."""
    return cut_crops(photos.read(photos.photos[crops[0].photo]), crops, crop_px)


def cut_crops(pixels: np.ndarray, crops: Sequence[Crop], crop_px: int) -> list[Tensor]:
    """Return crops (1, 3, crop_px, crop_px) in [-1, 1] of a photograph, which all take reduced alike.

    Args:
        pixels: The photograph, uint8 (H, W, 3).
        crops: Of this photograph, at one size.
        crop_px: Side of a crop.
    """
    reduction = crops[0].reduction
    reduced = downscale(to_tensor(pixels), reduction) if reduction > 1 else None
    found = []
    for crop in crops:
        rows, columns = slice(crop.top, crop.top + crop_px), slice(crop.left, crop.left + crop_px)
        # Copies: a view would keep the whole photograph.
        image = to_tensor(pixels[rows, columns]) if reduced is None else reduced[..., rows, columns].clone()
        found.append(dihedral(image, crop.symmetry))
    return found


def encode_images(
    images: Iterator[Tensor],
    crops: Sequence[Crop],
    codec: LatentCodec,
    through: LatentCodec | None,
    config: CacheConfig,
    pixels: bool,
) -> dict[str, Tensor]:
    """Return the tensors of one shard: `hr`, `lr_x2`, `lr_x4`, `crop` and, with `pixels`, the 8-bit `image`.

    Reduction to the low resolutions and encoding run on the codec's device.

    Args:
        images: Of the crops, (1, 3, crop_px, crop_px) each; no more are taken than there are crops.
        crops: What they are cut out of.
        codec: Encodes.
        through: Whose round trip the low resolutions take first.
        config: Kernel, dtype and columns.
        pixels: Whether the crops themselves are stored.
    """
    dtype = getattr(torch, config.dtype)
    tensors: dict[str, list[Tensor]] = {"hr": [], "lr_x2": [], "lr_x4": [], **({"image": []} if pixels else {})}
    batch = 1 if codec.device.type == "cpu" else ENCODED_AT_ONCE
    for start in range(0, len(crops), batch):
        taken = list(islice(images, min(batch, len(crops) - start)))
        large = torch.cat(taken).to(codec.device)
        tensors["hr"].append(codec.encode(large).to("cpu", dtype))
        for scale in SCALES:
            small = downscale(large, scale, config.lr_kernel)
            if through:
                with torch.no_grad():
                    small = through.decode(through.encode(small)).clamp(-1, 1)
            tensors[f"lr_x{scale}"].append(codec.encode(small).to("cpu", dtype))
        if pixels:
            tensors["image"] += [torch.from_numpy(to_uint8(image)).permute(2, 0, 1)[None] for image in taken]
    shard = {name: torch.cat(parts).contiguous() for name, parts in tensors.items()}
    columns = 4 if config.reductions == [1] else 5  # shards of before there were reductions stay as they are
    shard["crop"] = torch.tensor([astuple(crop)[:columns] for crop in crops])
    return shard
