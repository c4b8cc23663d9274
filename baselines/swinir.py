"""SwinIR in pixels after the decoder (arXiv 2108.10257)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from torch import Tensor, nn

from baselines.contract import Unavailable
from baselines.pixel_method import PixelMethod, loader
from lua_lightning.bounds import Text
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.swin import SwinIR
from lua_lightning.pixel_upscalers import PixelUpscaler


@dataclass
class SwinIRSettings:
    """Settings of pixel SwinIR."""

    weights: Annotated[str, Text()] = "swinir-tiny"
    """Network: the zoo name or folder of one that was trained here on `rgb`, or an official .pth file for scale 2."""
    weights_x4: Annotated[str | None, Text()] = None
    """Official .pth file for scale 4, because official files have one scale each."""


class SwinIRMethod(PixelMethod):
    """SwinIR in pixels after the decoder (arXiv 2108.10257): the adapter's trunk and heads on RGB."""

    name = "swinir"
    settings_type = SwinIRSettings

    @property
    def sources(self) -> tuple[str, ...]:
        settings = self.settings
        return (*super().sources, settings.weights, *([settings.weights_x4] if settings.weights_x4 else []))

    def enlarge(self, images: Tensor, scale: int) -> Tensor:
        model = self.model(scale)
        if isinstance(model, SwinIR):
            return model((images + 1) / 2) * 2 - 1
        return model(images, scale)

    def model(self, scale: int) -> nn.Module:
        source = self.settings.weights_x4 if scale == 4 and self.settings.weights_x4 else self.settings.weights
        if source not in self._loaded:
            network = SwinIR if Path(source).is_file() else LatentUpscaler
            self._loaded[source] = network.from_pretrained(source).to(self.world.device).eval()
        model = self._loaded[source]
        if isinstance(model, SwinIR) and model.upscale != scale:
            raise Unavailable(f"{source} enlarges {model.upscale} times, but {scale} is asked for")
        if isinstance(model, LatentUpscaler) and model.config.codec != "rgb":
            raise Unavailable(f"{source} was trained on {model.config.codec}, not on pixels (rgb)")
        return model

    @cached_property
    def _loaded(self) -> dict[str, nn.Module]:
        return {}


PIXELS = PixelUpscaler((2, 4), loader(SwinIRMethod))
