"""The methods by name: adding one is a file behind the contract and a line here."""

from collections.abc import Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from lua_lightning.errors import UserError, unknown_name

if TYPE_CHECKING:
    from baselines.contract import Method, World

# Where each class is, beside this file: a method's file, and PyTorch with it, is loaded when the method is used.
METHODS = {
    "native": "baselines.native:Native",
    "direct": "baselines.direct:Direct",
    "hidiffusion": "baselines.hidiffusion:HiDiffusion",
    "latent-bicubic": "baselines.latent_bicubic:LatentBicubic",
    "lsr": "baselines.lsr:Lsr",
    "roundtrip": "baselines.roundtrip:Roundtrip",
    "pixel-bicubic": "baselines.pixel_bicubic:PixelBicubic",
    "swinir": "baselines.swinir:SwinIRMethod",
    "dat-light": "baselines.dat_light:DatLight",
    "demofusion": "baselines.demofusion:DemoFusion",
    "lsrna-demofusion": "baselines.lsrna:LsrnaDemoFusion",
    "lua": "baselines.lua:Lua",
    "lua-light": "baselines.lua_light:LuaLight",
    "lua-refine": "baselines.lua_refine:LuaRefine",
}


def method_class(name: str) -> "type[Method]":
    """Return the class of the method called `name`.

    Raises:
        UserError: There is none, and the known ones are listed; or it needs a package that is not installed.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    try:
        return resolve_name(METHODS[name])
    except ModuleNotFoundError as error:
        raise UserError(
            f"{name} needs the package {error.name}, which is not installed: pip install 'lua-lightning[methods]'"
        ) from error


def build_method(name: str, world: "World", overrides: Sequence[str] = ()) -> "Method":
    """Return the method called `name` in `world`, with `key=value` settings that override its published ones.

    Raises:
        UserError: The name or a setting is unknown, or a value has the wrong type.
    """
    from lua_lightning.config import load_config

    kind = method_class(name)
    if kind.settings_type is None:
        if overrides:
            raise unknown_name(f"setting of {name}:", overrides[0], ["none, it has no settings"])
        return kind(world)
    return kind(world, load_config(kind.settings_type, None, list(overrides)))
