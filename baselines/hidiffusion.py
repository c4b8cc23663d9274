"""HiDiffusion (arXiv 2311.17528) through its authors' package: one call patches the UNet for sizes beyond its own."""

import importlib
import sys

from torch import Tensor

from baselines.clock import Clock
from baselines.contract import Start, Unavailable
from baselines.direct import Direct

# The package imports a module by the path that it had in older releases of diffusers.
MOVED = {"diffusers.pipelines.controlnet.multicontrolnet": "diffusers.models.controlnets.multicontrolnet"}


class HiDiffusion(Direct):
    """Direct sampling, with its settings, through a resolution-aware UNet and windowed attention."""

    name = "hidiffusion"

    def check(self, size: int) -> None:
        package = self._package()
        pipe = self.world.generator.pipe
        modules = {name for name, _ in pipe.unet.named_modules()} if hasattr(pipe, "unet") else set()
        if not set(package.sdxl_module_key) <= modules:
            raise Unavailable(
                f"hidiffusion patches the UNet of SDXL by its layers' names, and {self.world.generator.facts.name} has "
                "other layers: choose generator=sdxl"
            )

    @staticmethod
    def _package():
        for old, new in MOVED.items():
            sys.modules.setdefault(old, importlib.import_module(new))
        try:
            return importlib.import_module("hidiffusion.hidiffusion")
        except ImportError as error:
            raise Unavailable(f"hidiffusion needs its package, which cannot be imported here: {error}") from error

    def make(self, start: Start, size: int, clock: Clock) -> Tensor:
        package, pipe = self._package(), self.world.generator.pipe
        package.apply_hidiffusion(pipe)
        try:
            return super().make(start, size, clock)
        finally:
            package.remove_hidiffusion(pipe)
