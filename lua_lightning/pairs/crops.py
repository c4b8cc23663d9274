"""Draw crops of photographs by their detail, so that a model trains on texture rather than on sky."""

import torch
import torch.nn.functional as F
from torch import Tensor

STEP = 8  # crop corners are multiples of this many pixels, so that they fall on latent positions


def detail_map(image: Tensor, size: int) -> Tensor:
    """Return the mean absolute luminance gradient of every crop position on a grid of STEP pixels.

    Args:
        image: (1, 3, H, W) in [-1, 1], both sides at least `size`.
        size: Crop side in pixels, a multiple of STEP.

    Returns:
        (rows, columns), positive; entry (i, j) describes the crop whose corner is (STEP * i, STEP * j).
    """
    luminance = image.mean(1, keepdim=True)
    gradient = F.pad(luminance.diff(dim=-1).abs(), (0, 1)) + F.pad(luminance.diff(dim=-2).abs(), (0, 0, 0, 1))
    # Averages of averages: 64 times less work than one pooling window of `size` pixels.
    return F.avg_pool2d(F.avg_pool2d(gradient, STEP), size // STEP, stride=1)[0, 0] + 1e-8


def draw_positions(image: Tensor, size: int, count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Draw `count` crop corners (top, left) with probability proportional to their detail, with replacement."""
    detail = detail_map(image, size)
    picked = torch.multinomial(detail.flatten(), count, replacement=True, generator=generator)
    columns = detail.shape[1]
    return [(STEP * (int(index) // columns), STEP * (int(index) % columns)) for index in picked]


def draw_apart(image: Tensor, size: int, count: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """Draw up to `count` crop corners (top, left) as `draw_positions` does, but none that overlaps another."""
    detail = detail_map(image, size)
    positions: list[tuple[int, int]] = []
    reach = -(-size // STEP)
    while len(positions) < count and bool((detail > 0).any()):
        row, column = divmod(int(torch.multinomial(detail.flatten(), 1, generator=generator)), detail.shape[1])
        positions.append((STEP * row, STEP * column))
        detail[max(0, row - reach + 1) : row + reach, max(0, column - reach + 1) : column + reach] = 0
    return positions


def grid_positions(height: int, width: int, size: int) -> list[tuple[int, int]]:
    """Return the corners (top, left) of all whole non-overlapping crops, centred: the published sampling."""
    rows, columns = height // size, width // size
    top, left = (height - rows * size) // 2 // STEP * STEP, (width - columns * size) // 2 // STEP * STEP
    return [(top + row * size, left + column * size) for row in range(rows) for column in range(columns)]


def dihedral(image: Tensor, index: int) -> Tensor:
    """Return one of the 8 symmetries of the square applied to (..., H, W); `index` in [0, 8), 0 is the identity."""
    image = image.rot90(index % 4, dims=(-2, -1))
    return image.flip(-1) if index >= 4 else image
