"""Train, measure and use latent upscaler adapters for diffusion models (LUA, arXiv 2511.10629).

The public names below are loaded when they are first used, so that importing the package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lua_lightning.signals import begin

if TYPE_CHECKING:
    from lua_lightning.errors import UserError
    from lua_lightning.generators.generator import Generator
    from lua_lightning.models.adapter import LatentUpscaler
    from lua_lightning.models.codec import LatentCodec
    from lua_lightning.pipeline import UpscaledPipeline, upscale_latents
    from lua_lightning.upscaling import upscale_image

begin(__name__)

__version__ = "0.1.0"

__all__ = [
    "Generator",
    "LatentCodec",
    "LatentUpscaler",
    "UpscaledPipeline",
    "UserError",
    "upscale_image",
    "upscale_latents",
]

_HOMES = {
    "Generator": "lua_lightning.generators.generator",
    "LatentCodec": "lua_lightning.models.codec",
    "LatentUpscaler": "lua_lightning.models.adapter",
    "UpscaledPipeline": "lua_lightning.pipeline",
    "UserError": "lua_lightning.errors",
    "upscale_image": "lua_lightning.upscaling",
    "upscale_latents": "lua_lightning.pipeline",
}


def __getattr__(name: str) -> Any:
    """Return a public name, loaded now."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; its public names: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names beside the module's own, for completion in a shell or notebook."""
    return sorted({*globals(), *__all__})
