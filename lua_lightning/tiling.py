"""Apply an enlarging or reducing network to an image or latent tile by tile, in bounded memory."""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

import torch
from torch import Tensor

from lua_lightning.errors import UserError


def tiled(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    scale: int | Fraction = 1,
    tile: int = 64,
    overlap: int = 16,
    cell: int = 1,
    reach: int | None = None,
) -> Tensor:
    """Return `fn(x)` computed on overlapping tiles of `x` (B, C, H, W) that are blended with linear ramps.

    The output (B, C', H*scale, W*scale) is allocated once, and the weights of the tiles sum to 1 at every pixel. What
    `fn` sees of its surroundings ends at the tile's border: choose `overlap` as wide as it matters. An `x` that fits in
    one tile is passed on whole.

    Args:
        fn: Maps (B, C, h, w) to (B, C', h*scale, w*scale) for every tile.
        x: The tensor to split.
        scale: Output pixels per input pixel: an int, or `Fraction(1, 8)` for an encoder that reduces 8 times.
        tile: Side of a tile, in pixels of `x`. It, the overlap and the sides of `x` are multiples of the reduction.
        overlap: Pixels of `x` that neighbouring tiles share; at most half a tile.
        cell: Tiles begin at multiples of this many pixels of the coarser side of `fn`, for one that treats the
            positions in a cell of that side differently. The sides of `x` are then multiples of it too.
        reach: How many pixels of `x` beyond a place `fn` sees, where that is known: every tile is then computed with
            that much around it, which is cut off, and nothing is blended. The result is that of the whole.

    Raises:
        UserError: The tile and the overlap do not suit each other, or something is not a multiple of the reduction.
    """
    out, top = None, 0
    for band in bands(fn, x, scale, tile, overlap, cell, reach):
        if out is None:
            height, width = (int(side * Fraction(scale)) for side in x.shape[-2:])
            if band.shape[-2] == height:
                return band
            out = band.new_empty((*band.shape[:-2], height, width))
        out[..., top : top + band.shape[-2], :] = band
        top += band.shape[-2]
    assert out is not None
    return out


def bands(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    scale: int | Fraction = 1,
    tile: int = 64,
    overlap: int = 16,
    cell: int = 1,
    reach: int | None = None,
) -> Iterator[Tensor]:
    """Yield what `tiled` returns from top to bottom, in bands (B, C', h, W*scale) of about a tile's height.

    Args and Raises: As those of `tiled`.
    """
    scale = Fraction(scale)
    height, width = x.shape[-2:]
    if reach is not None:
        overlap = 0
    if not 0 <= overlap <= tile // 2 or tile < 1:
        raise UserError(f"overlap {overlap} must lie between 0 and half the tile, {tile // 2}")
    if height <= tile and width <= tile:
        yield fn(x)
        return
    step = scale.denominator * cell
    _check_multiples(step, tile=tile, overlap=overlap, height=height, width=width)
    if reach is not None:
        yield from _exact_bands(fn, x, scale, tile, -(-reach // step) * step, step)
        return
    tops = starts(height, tile, overlap, step)
    waiting = None  # the rows that the next row of tiles makes too
    for top, following in zip(tops, [*tops[1:], height], strict=True):
        band = _across(fn, x[..., top : top + tile, :], scale, tile, overlap, step)
        if waiting is not None:
            shared = waiting.shape[-2]
            band[..., :shared, :] = waiting.lerp(band[..., :shared, :], ramp(shared, band)[:, None])
        finished = int((following - top) * scale)
        waiting = band[..., finished:, :].clone()
        yield band[..., :finished, :]
        del band  # it need not wait for the next one


def _exact_bands(
    fn: Callable[[Tensor], Tensor], x: Tensor, scale: Fraction, tile: int, reach: int, step: int
) -> Iterator[Tensor]:
    """Yield bands of tiles that are computed with `reach` pixels around them."""
    height, width = x.shape[-2:]
    for top, bottom in _parts(height, tile, step):
        above, band = max(0, top - reach), None
        strip = x[..., above : bottom + reach, :]
        rows = slice(int((top - above) * scale), int((bottom - above) * scale))
        for left, right in _parts(width, tile, step):
            before = max(0, left - reach)
            done = fn(strip[..., before : right + reach])
            if band is None:
                band = done.new_empty((*done.shape[:-2], rows.stop - rows.start, int(width * scale)))
            columns = slice(int((left - before) * scale), int((right - before) * scale))
            band[..., int(left * scale) : int(right * scale)] = done[..., rows, columns]
        assert band is not None
        yield band


def _parts(size: int, tile: int, step: int) -> list[tuple[int, int]]:
    """Return the begin and end of parts of an axis, equal but for `step`, none longer than `tile`."""
    count, units = -(-size // tile), size // step
    edges = [index * units // count * step for index in range(count + 1)]
    return list(itertools.pairwise(edges))


def _across(
    fn: Callable[[Tensor], Tensor], strip: Tensor, scale: Fraction, tile: int, overlap: int, step: int
) -> Tensor:
    """Return `fn` of a strip of tiles, blended where neighbours overlap."""
    width = strip.shape[-1]
    out, right = None, 0
    for left in starts(width, tile, overlap, step):
        done = fn(strip[..., left : left + tile])
        if out is None:
            out = done.new_empty((*done.shape[:-1], int(width * scale)))
        near, far = int(left * scale), int(min(left + tile, width) * scale)
        shared = right - near if left else 0
        out[..., near : near + shared] = out[..., near : near + shared].lerp(done[..., :shared], ramp(shared, done))
        out[..., near + shared : far] = done[..., shared:]
        right = far
    assert out is not None
    return out


def _check_multiples(step: int, **sides: int) -> None:
    for name, value in sides.items():
        if value % step:
            raise UserError(f"{name} {value} must be a multiple of {step}, by which the tiles are reduced")


def starts(size: int, tile: int, overlap: int, step: int = 1) -> list[int]:
    """Return where the tiles of one axis begin: evenly spaced multiples of `step`, the last tile ending at `size`."""
    if size <= tile:
        return [0]
    count = -(-(size - overlap) // (tile - overlap))
    last = (size - tile) // step
    return [index * last // (count - 1) * step for index in range(count)]


def ramp(length: int, like: Tensor) -> Tensor:
    """Return the weight of the later of two tiles across the `length` pixels they share.

    It is 0 on the first quarter, which that tile's own border spoils, rises linearly, and is 1 on the last quarter,
    where the earlier tile ends.
    """
    position = (torch.arange(length, device=like.device, dtype=torch.float32) + 0.5) / max(1, length)
    return (2 * position - 0.5).clamp(0, 1).to(like.dtype)
