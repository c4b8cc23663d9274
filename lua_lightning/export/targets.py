"""The table of what adapters are exported to."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Target:
    """One form of an export."""

    sentence: str
    """What it is for."""
    module: str
    """Holds `export(subject, folder)`, which writes the files and returns the largest difference to the adapter."""

    def load(self) -> Callable[[Any, Path], float]:
        """Return the function, imported now."""
        return import_module(self.module).export


TARGETS = {
    "diffusers": Target("a model that diffusers' AutoModel loads", "lua_lightning.export.diffusers"),
    "modular": Target("a step for diffusers' modular pipelines", "lua_lightning.export.modular"),
    "pipeline": Target("a diffusers pipeline of adapter and autoencoder", "lua_lightning.export.pipeline"),
    "comfyui": Target("a file for ComfyUI's node Load LUA", "lua_lightning.export.comfyui"),
    "onnx": Target("ONNX graphs, one per scale, of any size", "lua_lightning.export.onnx"),
}
