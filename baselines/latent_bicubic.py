"""Bicubic enlargement of the latents."""

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start
from lua_lightning.models.network import enlarge


class LatentBicubic(Method):
    """Enlarge the latents bicubically, then decode."""

    name = "latent-bicubic"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("upscale"):
            latents = enlarge(start.latents, self.scale(start, size))
        with clock.phase("decode"):
            return self.world.decode(latents)
