"""What the networks share that enlarge the decoded image: they are methods, and pixel upscalers of `upscale`."""

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.clock import Clock
from baselines.contract import PIXEL_OVERLAP, PIXEL_TILE, Method, Start, World
from lua_lightning.tiling import tiled


class PixelMethod(Method):
    """Decode, then enlarge the image by a network of pixels."""

    @abstractmethod
    def model(self, scale: int) -> nn.Module:
        """Return the network for a scale, loaded once.

        Raises:
            Unavailable: With the reason.
        """

    @abstractmethod
    def enlarge(self, images: Tensor, scale: int) -> Tensor:
        """Return images (N, 3, H, W) in [-1, 1] enlarged to (N, 3, H*scale, W*scale), in about that range."""

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        scale = self.scale(start, size)
        self.model(scale)  # loading is not a phase
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return tiled(lambda part: self.enlarge(part, scale), image, scale, PIXEL_TILE, PIXEL_OVERLAP)


def loader(kind: type[PixelMethod]) -> Callable[[str | torch.device], Callable[[Tensor, int], Tensor]]:
    """Return what loads a method as a `PixelUpscaler` wants it."""

    def load(device: str | torch.device) -> Callable[[Tensor, int], Tensor]:
        settings = kind.settings_type() if kind.settings_type else None
        return kind(World(device=str(device)), settings).enlarge

    return load
