"""The exponential moving average (EMA) of the adapter's weights."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from lua_lightning.models.adapter import LatentUpscaler


def warmed_up(decay: float, updates: int) -> float:
    """Return the decay of an exponential average after `updates` updates: small at first, `decay` in the end."""
    return min(decay, (1 + updates) / (10 + updates))


class AveragedAdapter(AveragedModel):
    """Exponential moving average of the adapter's weights.

    With warm-up the n-th update uses the decay min(decay, (1 + n) / (10 + n)), so that a short run is not averaged
    with its own beginning. `AveragedModel` asks the device three times per update how many there have been; this one
    counts on the host, and moves all weights in one call.
    """

    def __init__(self, adapter: LatentUpscaler, decay: float, warmup: bool):
        super().__init__(adapter)
        self.decay, self.warmup = decay, warmup
        self._updates: int | None = None  # `n_averaged`, read once
        self.register_load_state_dict_post_hook(lambda module, keys: setattr(module, "_updates", None))
        self.requires_grad_(False)

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Move the averages towards the weights of `model`; the first update copies them."""
        if self._updates is None:
            self._updates = int(self.n_averaged)
        ours: list[Tensor] = list(self.module.parameters())
        theirs: list[Tensor] = list(model.parameters())
        if self._updates == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            decay = warmed_up(self.decay, self._updates) if self.warmup else self.decay
            torch._foreach_lerp_(ours, theirs, 1 - decay)
        self._updates += 1
        self.n_averaged += 1
