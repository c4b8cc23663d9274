"""Decode, enlarge, encode: what latents gain where no network enlarges them."""

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import TILE, Method, Start
from lua_lightning.images import resize


class Roundtrip(Method):
    """Decode, enlarge the image bicubically, encode it, and decode again.

    Its latents are of the full size, as a latent upscaler's are, so that a generator could go on with them: it is the
    row that every latent upscaler must beat.
    """

    name = "roundtrip"

    def latents(self, start: Start, size: int, clock: Clock) -> Tensor:
        """Return the enlarged normalised latents."""
        with clock.phase("upscale"):
            image = resize(self.world.decode(start.latents), (size, size)).clamp(-1, 1)
            return self.world.codec.encode(image, tile=TILE)

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        latents = self.latents(start, size, clock)
        with clock.phase("decode"):
            return self.world.decode(latents)
