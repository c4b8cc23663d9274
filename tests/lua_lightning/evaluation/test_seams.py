"""Tile seams, against a score written out pixel by pixel and against real tiles."""

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from baselines.contract import TILE as DECODED
from lua_lightning.errors import UserError
from lua_lightning.evaluation.seams import OVERLAP, TILE, seam_positions, tile_seam
from lua_lightning.models.codec import OVERLAP as LATENTS
from lua_lightning.tiling import tiled

PHOTO = astronaut()[:160, :192]


def test_the_tiles_are_those_that_methods_decode_in():
    assert (TILE, OVERLAP) == (DECODED, 8 * LATENTS)


def test_seams_are_where_tiles_begin_and_end():
    """A function that gives each tile its own constant steps exactly there, when nothing is blended."""
    numbers = iter(range(100))
    whole = torch.zeros(1, 1, 8, 192)
    image = tiled(lambda part: torch.full_like(part, float(next(numbers))), whole, tile=64, overlap=0)
    steps = np.flatnonzero(np.diff(image[0, 0, 0].numpy())) + 1
    assert seam_positions(192, 64, 0) == steps.tolist() == [64, 128]
    assert seam_positions(2048) == [512, 1024, 1536]
    assert seam_positions(1024) == []


def test_the_score_is_the_ratio_of_mean_squared_steps():
    luma = np.asarray(Image.fromarray(PHOTO).convert("L")).astype(float)
    border, elsewhere = [], []
    for axis in (0, 1):
        places = seam_positions(luma.shape[axis], 96, 32)
        for place in range(1, luma.shape[axis]):
            total = 0.0
            for other in range(luma.shape[1 - axis]):
                here, before = (
                    ((place, other), (place - 1, other)) if axis == 0 else ((other, place), (other, place - 1))
                )
                total += (luma[here] - luma[before]) ** 2
            (border if place in places else elsewhere).append(total / luma.shape[1 - axis])
    assert tile_seam(PHOTO, 96, 32) == pytest.approx(np.mean(border) / np.mean(elsewhere), rel=1e-9)


def test_tiles_of_unequal_brightness_score_higher():
    offsets = iter((0, 12, -12, 6, -6, 9))
    whole = torch.from_numpy(PHOTO.astype(np.float32)).permute(2, 0, 1)[None]
    seamed = tiled(lambda part: part + next(offsets), whole, tile=96, overlap=0)
    pixels = seamed.clamp(0, 255)[0].permute(1, 2, 0).numpy().astype(np.uint8)
    assert tile_seam(pixels, 96, 0) > tile_seam(PHOTO, 96, 0) + 0.1
    assert tile_seam(np.full((160, 192, 3), 9, np.uint8), 96, 0) == 1


def test_a_single_tile_has_no_score():
    with pytest.raises(UserError, match="fits into one tile of 1024 px"):
        tile_seam(PHOTO)
