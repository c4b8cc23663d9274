"""Methods without a network of their own: the base image, sampling at the full size, and bicubic enlargements."""

from dataclasses import dataclass

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start
from lua_lightning.adapter import enlarge
from lua_lightning.images import resize


class Native(Method):
    """The base image as it is, at its own size: the reference row."""

    name = "native"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("decode"):
            return self.world.decode(start.latents)


@dataclass
class DirectSettings:
    """Settings of sampling at the full size, as published."""

    steps: int | None = None  # None: the generator's own, 30 for SDXL
    eta: float = 1.0  # of DDIM


class Direct(Method):
    """Sample at the full size, beyond what the generator was trained for."""

    name = "direct"
    enlarges = False
    needs_prompt = True
    settings_type = DirectSettings

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        assert start.prompt is not None
        with clock.phase("generate"):
            steps = self.settings.steps or self.world.steps
            latents = self.world.generator.latents([start.prompt], [start.seed], size, size, steps, self.settings.eta)
        with clock.phase("decode"):
            return self.world.decode(latents)


class LatentBicubic(Method):
    """Enlarge the latents bicubically, then decode."""

    name = "latent-bicubic"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("upscale"):
            latents = enlarge(start.latents, self.scale(start, size))
        with clock.phase("decode"):
            return self.world.decode(latents)


class PixelBicubic(Method):
    """Decode, then enlarge the image bicubically."""

    name = "pixel-bicubic"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return resize(image, (size, size))
