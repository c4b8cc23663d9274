"""The base image as it is: the reference row."""

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start


class Native(Method):
    """The base image as it is, at its own size: the reference row."""

    name = "native"

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        with clock.phase("decode"):
            return self.world.decode(start.latents)
