"""How large a result becomes: what the adapter enlarges by, and the size that its decoded image is fitted to."""

import math
from collections.abc import Sequence


def plan(
    width: int,
    height: int,
    scales: Sequence[int],
    target: str,
    scale: float,
    size: tuple[int, int],
    megapixels: float,
    fit: str,
) -> tuple[int, tuple[int, int]]:
    """Return the adapter's scale and the width and height of the result, all in pixels.

    Args:
        width: Of the image that the latents decode to.
        height: Likewise.
        scales: What the adapter enlarges by.
        target: Which of the following holds: "scale", "size" or "megapixels".
        scale: Times the width and height.
        size: Width and height.
        megapixels: Millions of pixels.
        fit: How `size` is met: "inside" keeps the aspect, "crop" fills it.

    Raises:
        ValueError: No scale is large enough.
    """
    if target == "size":
        factors = size[0] / width, size[1] / height
        factor = max(factors) if fit == "crop" else min(factors)
    else:
        factor = scale if target == "scale" else math.sqrt(1e6 * megapixels / (width * height))
    whole = max(1, round(width * factor)), max(1, round(height * factor))
    if target == "size" and fit == "crop":
        whole, result = (max(whole[0], size[0]), max(whole[1], size[1])), size
    elif target == "size":
        result = whole = min(whole[0], size[0]), min(whole[1], size[1])
    else:
        result = whole
    for candidate in sorted(scales):
        if candidate * width >= whole[0] and candidate * height >= whole[1]:
            return candidate, result
    raise ValueError(
        f"{width}x{height} pixels would have to become {max(whole[0] / width, whole[1] / height):.3g} times as large, "
        f"but this adapter enlarges at most {max(scales)} times: ask for a smaller size"
    )
