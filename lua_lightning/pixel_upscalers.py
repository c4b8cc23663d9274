"""Pixel upscalers by name: networks that other packages bring through entry points, and bicubic enlargement."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from lua_lightning.errors import UserError, first_line, unknown_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GROUP = "lua_lightning.pixel_upscalers"  # entry points; the project's own `baselines/` adds dat-light and swinir
BICUBIC = "bicubic"


@dataclass(frozen=True)
class PixelUpscaler:
    """A network that enlarges images."""

    scales: tuple[int, ...]
    """What it enlarges by."""
    load: "Callable[[str | torch.device], Callable[[Tensor, int], Tensor]]"
    """Returns, for a device, the function from images (N, 3, H, W) in [-1, 1] and a scale to enlarged images."""


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def pixel_upscaler_names() -> list[str]:
    """Return the names that `find_pixel_upscaler` knows here."""
    return [BICUBIC, *sorted(_registered())]


def find_pixel_upscaler(name: str) -> PixelUpscaler | None:
    """Return the pixel upscaler of that name; None for `bicubic`, which needs no network.

    Raises:
        UserError: No installed package adds it, or what it needs is not installed.
    """
    if name == BICUBIC:
        return None
    registered = _registered()
    if name not in registered:
        raise UserError(
            f"{unknown_name('method', name, ['lua', *pixel_upscaler_names()])}; dat-light and swinir come with "
            "lua-lightning's `baselines` package"
        )
    try:
        return registered[name].load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name} cannot be loaded ({first_line(error)}): install the package that adds it") from error
