"""Bicubic enlargement of the decoded image."""

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start
from lua_lightning.images import resize


class PixelBicubic(Method):
    """Decode, then enlarge the image bicubically."""

    name = "pixel-bicubic"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return resize(image, (size, size))
