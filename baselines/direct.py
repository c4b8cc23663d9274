"""Sampling at the full size."""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start
from lua_lightning.bounds import Within


@dataclass
class DirectSettings:
    """Settings of sampling at the full size, as published."""

    steps: Annotated[int | None, Within(1, 1000)] = None
    """Denoising steps. null takes the generator's own number, 30 for SDXL."""
    eta: Annotated[float, Within(0, 1)] = 1.0
    """Noise parameter of DDIM, in [0, 1]."""


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
