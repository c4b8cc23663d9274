"""The check that every export passes before it is left in its folder: it computes what the adapter computes."""

from collections.abc import Callable

import torch
from torch import Tensor

from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler

TOLERANCE = 1e-4  # largest absolute difference
SIZES = ((1, 17, 24), (2, 32, 32), (1, 40, 13), (1, 9, 9), (3, 5, 3))  # batch, height and width: odd, even and tiny


def largest_difference(
    adapter: LatentUpscaler, exported: Callable[[Tensor, int], Tensor], target: str, even: bool = False
) -> float:
    """Return the largest absolute difference of an export to its adapter, over five sizes and every scale.

    Args:
        adapter: In float32.
        exported: Maps latents (B, C, H, W) and a scale to enlarged latents.
        target: What the export is, for the error.
        even: Whether the export takes even sides only; odd ones are left out by one then.

    Raises:
        UserError: They differ by more than 1e-4.
    """
    worst, place = 0.0, ""
    generator = torch.Generator().manual_seed(0)
    for scale in adapter.config.scales:
        for batch, height, width in SIZES:
            sides = (height + height % 2, width + width % 2) if even else (height, width)
            latents = 2 * torch.randn(batch, adapter.config.channels, *sides, generator=generator)
            with torch.inference_mode():
                expected, found = adapter(latents, scale), exported(latents, scale)
            difference = float((found - expected).abs().max()) if found.shape == expected.shape else float("inf")
            if not difference <= worst:
                worst, place = difference, f"x{scale} at {sides[1]}x{sides[0]}"
    if not worst <= TOLERANCE:
        raise UserError(
            f"the {target} export differs from its adapter by {worst:.2g} ({place}), where {TOLERANCE:g} is allowed: "
            "it was not kept; other versions of the packages that made it may help"
        )
    return worst
