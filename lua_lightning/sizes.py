"""How large a result becomes: what a network enlarges by, what its pixels are then reduced to, and what is cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lua_lightning.errors import UserError, unknown_name

FITS = ("inside", "crop")
LARGEST_SCALE, LONGEST_SIDE, MOST_MEGAPIXELS = 16, 2**17, 512
DEFAULT_SCALE = 2


@dataclass(frozen=True)
class Target:
    """The size that is asked for; exactly one of `scale`, `size` and `megapixels` is not None. Made by `target`."""

    scale: float | None = None
    """Times the width and the height."""
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    megapixels: float | None = None
    """Millions of pixels; the aspect stays."""
    fit: str = "inside"
    """How `size` is met: "inside" keeps the aspect and the whole picture, "crop" fills it and cuts what sticks out."""

    @property
    def ending(self) -> str:
        """What the names of results end in, such as `x2`, `1920x1080` or `4mp`."""
        if self.size:
            return f"{self.size[0]}x{self.size[1]}"
        return f"x{self.scale:g}" if self.scale else f"{self.megapixels:g}mp"


def target(
    scale: float | None = None,
    size: tuple[int, int] | None = None,
    megapixels: float | None = None,
    fit: str = "inside",
    prefix: str = "",
) -> Target:
    """Return what is asked for; nothing at all is asked as a scale of 2.

    Args:
        scale: Above 0, at most 16.
        size: Width and height, 1 to 131,072 pixels each.
        megapixels: Above 0, at most 512.
        fit: "inside" or "crop"; the latter only beside `size`.
        prefix: What the user writes before these names, such as `--`.

    Raises:
        UserError: Two of them are given, or one is out of its range.
    """
    given = [
        name for name, value in (("scale", scale), ("size", size), ("megapixels", megapixels)) if value is not None
    ]
    if len(given) > 1:
        raise UserError(f"{prefix}{given[0]} and {prefix}{given[1]} both say how large the result is: give one of them")
    if fit not in FITS:
        raise unknown_name(f"{prefix}fit", fit, FITS)
    if fit == "crop" and size is None:
        raise UserError(f"{prefix}fit crop says how a size is met: give {prefix}size too")
    if scale is not None and not 0 < scale <= LARGEST_SCALE:
        raise UserError(f"{prefix}scale {scale:g} must be above 0 and at most {LARGEST_SCALE}")
    if megapixels is not None and not 0 < megapixels <= MOST_MEGAPIXELS:
        raise UserError(f"{prefix}megapixels {megapixels:g} must be above 0 and at most {MOST_MEGAPIXELS}")
    if size is not None and not all(1 <= side <= LONGEST_SIDE for side in size):
        raise UserError(f"{prefix}size {size[0]}x{size[1]} must have sides of 1 to {LONGEST_SIDE} pixels")
    if not given:
        scale = DEFAULT_SCALE
    if scale is not None and scale == int(scale):
        scale = int(scale)
    return Target(scale, None if size is None else (int(size[0]), int(size[1])), megapixels, fit)


@dataclass(frozen=True)
class Plan:
    """How a picture comes to its size; all sizes are width and height in pixels."""

    scale: float
    """What the network enlarges by, at least what is needed."""
    enlarged: tuple[int, int]
    """What the network makes."""
    whole: tuple[int, int]
    """What that is reduced to, by an antialiased filter."""
    size: tuple[int, int]
    """What is cut from the middle of it: the result."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the result in `whole`."""
        left, top = ((whole - side) // 2 for whole, side in zip(self.whole, self.size, strict=True))
        return left, top, left + self.size[0], top + self.size[1]


def fitted(width: int, height: int, wanted: Target) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sizes of a picture of `width` x `height` pixels before and after the cut, `Plan.whole` and `.size`.

    >>> fitted(640, 480, target(size=(1920, 1080)))
    ((1440, 1080), (1440, 1080))
    >>> fitted(640, 480, target(size=(1920, 1080), fit="crop"))
    ((1920, 1440), (1920, 1080))
    """
    if wanted.size is None:
        factor = wanted.scale or math.sqrt(1e6 * (wanted.megapixels or 0) / (width * height))
        whole = max(1, round(width * factor)), max(1, round(height * factor))
        return whole, whole
    across, down = wanted.size
    factors = across / width, down / height
    factor = max(factors) if wanted.fit == "crop" else min(factors)
    whole = max(1, round(width * factor)), max(1, round(height * factor))
    if wanted.fit == "crop":
        return (max(whole[0], across), max(whole[1], down)), wanted.size
    whole = min(whole[0], across), min(whole[1], down)
    return whole, whole


def plan_size(
    width: int, height: int, wanted: Target, scales: Sequence[float], what: str = "the picture", of: str = "the adapter"
) -> Plan:
    """Return how a picture of `width` x `height` pixels becomes as large as `wanted`.

    The network enlarges by the smallest of its scales that is enough; its pixels are then reduced.

    >>> plan_size(640, 480, target(scale=3), scales=(2, 4))
    Plan(scale=4, enlarged=(2560, 1920), whole=(1920, 1440), size=(1920, 1440))

    Args:
        width: Of the picture, in pixels.
        height: Likewise.
        wanted: What is asked for.
        scales: What the network can enlarge by.
        what: What errors call the picture.
        of: What errors call the network.

    Raises:
        UserError: No scale is large enough.
    """
    whole, size = fitted(width, height, wanted)
    for scale in sorted(scales):
        enlarged = round(width * scale), round(height * scale)
        if enlarged[0] >= whole[0] and enlarged[1] >= whole[1]:
            return Plan(scale, enlarged, whole, size)
    needed = max(whole[0] / width, whole[1] / height)
    raise UserError(
        f"{what} of {width}x{height} pixels would have to become {needed:.3g} times as large for {wanted.ending}, but "
        f"{of} enlarges at most {max(scales):g} times: ask for less, or enlarge the result once more"
    )
