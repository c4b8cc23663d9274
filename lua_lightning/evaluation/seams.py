"""Tile seams: whether an image that was decoded in tiles shows where they meet."""

import numpy as np
from PIL import Image

from lua_lightning.errors import UserError
from lua_lightning.tiling import starts

TILE, OVERLAP = 1024, 128  # pixels of the decoder's tiles and of what neighbours share, as every method decodes here


def seam_positions(side: int, tile: int = TILE, overlap: int = OVERLAP) -> list[int]:
    """Return the pixels of one axis where a tile begins or ends inside the image: there blending begins and ends."""
    begins = starts(side, tile, overlap, 8)
    return sorted({place for begin in begins for place in (begin, begin + tile) if 0 < place < side})


def tile_seam(pixels: np.ndarray, tile: int = TILE, overlap: int = OVERLAP) -> float:
    """Return the gradient energy across the borders of tiles over that at all other places; 1 where no seam shows.

    The energy at a place is the mean squared step of the luma between the rows or columns at both sides of it.

    Args:
        pixels: uint8 (H, W, 3).
        tile: Side in pixels of the tiles.
        overlap: Pixels that neighbouring tiles share.

    Raises:
        UserError: The image fits into one tile, so that there is no border.
    """
    luma = np.asarray(Image.fromarray(pixels).convert("L")).astype(float)
    borders, elsewhere = [], []
    for axis, side in enumerate(luma.shape):
        energy = (np.diff(luma, axis=axis) ** 2).mean(1 - axis)
        places = np.array(seam_positions(side, tile, overlap), dtype=int) - 1
        borders.append(energy[places])
        elsewhere.append(np.delete(energy, places))
    found = np.concatenate(borders)
    if not len(found):
        raise UserError(f"an image fits into one tile of {tile} px, which has no seams: measure a larger size")
    around = np.concatenate(elsewhere).mean()
    return float(found.mean() / around) if around > 0 else 1.0
