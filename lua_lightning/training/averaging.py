"""The exponential moving average (EMA) of the adapter's weights."""

from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from lua_lightning.models.adapter import LatentUpscaler


def warmed_up(decay: float, updates: int) -> float:
    """Return the decay of an exponential average after `updates` updates: small at first, `decay` in the end."""
    return min(decay, (1 + updates) / (10 + updates))


class AveragedAdapter(AveragedModel):
    """Exponential moving average of the adapter's weights.

    With warm-up the n-th update uses the decay min(decay, (1 + n) / (10 + n)), so that a short run is not averaged
    with its own beginning.
    """

    def __init__(self, adapter: LatentUpscaler, decay: float, warmup: bool):
        @torch.no_grad()
        def average(ours: Any, theirs: Any, updates: Tensor | int) -> None:
            now = warmed_up(decay, int(updates)) if warmup else decay
            torch._foreach_lerp_(list(ours), list(theirs), 1 - now)

        super().__init__(adapter, multi_avg_fn=average)
        self.requires_grad_(False)
