"""The latent upscaler adapter."""

from functools import cached_property

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Method, Start
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.pipeline import check_pair, upscale_latents

LATENT_TILE = 1024  # pixels of the result


class Lua(Method):
    """The latent upscaler adapter, one pass before the decoder."""

    name = "lua"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*super().sources, self.world.adapter_name)

    @cached_property
    def network(self) -> LatentUpscaler:
        """The network that enlarges the latents."""
        return self.world.adapter

    def upscale(self, start: Start, size: int, clock: Clock) -> Tensor:
        """Return the enlarged normalised latents."""
        scale = self.scale(start, size)
        with clock.phase("upscale"):
            tile = LATENT_TILE // self.world.codec.downscale // scale
            return upscale_latents(self.network, self.world.codec, start.latents, scale, tile=tile)

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        check_pair(self.network, self.world.codec)
        latents = self.upscale(start, size, clock)
        with clock.phase("decode"):
            return self.world.decode(latents)
