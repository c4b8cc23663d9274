"""The methods by name: adding one is a file behind the contract and a line here."""

import importlib

from baselines.contract import Method, World
from lua_lightning.config import load_config
from lua_lightning.errors import unknown_name

METHODS = {
    "native": "baselines.native:Native",
    "direct": "baselines.direct:Direct",
    "hidiffusion": "baselines.hidiffusion:HiDiffusion",
    "latent-bicubic": "baselines.latent_bicubic:LatentBicubic",
    "lsr": "baselines.lsr:Lsr",
    "pixel-bicubic": "baselines.pixel_bicubic:PixelBicubic",
    "swinir": "baselines.swinir:SwinIRMethod",
    "dat-light": "baselines.dat_light:DatLight",
    "demofusion": "baselines.demofusion:DemoFusion",
    "lsrna-demofusion": "baselines.lsrna:LsrnaDemoFusion",
    "lua": "baselines.lua:Lua",
    "lua-refine": "baselines.lua_refine:LuaRefine",
}


def method_class(name: str) -> type[Method]:
    """Return the class of the method called `name`.

    Raises:
        UserError: There is none; the known ones are listed.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    module, _, kind = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), kind)


def build_method(name: str, world: World, overrides: list[str] | None = None) -> Method:
    """Return the method called `name` in `world`, with `key=value` settings that win over its published ones.

    Raises:
        UserError: The name or a setting is unknown, or a value has the wrong type.
    """
    kind = method_class(name)
    if kind.settings_type is None:
        if overrides:
            raise unknown_name(f"setting of {name}:", overrides[0], ["none, it has no settings"])
        return kind(world)
    return kind(world, load_config(kind.settings_type, None, overrides or []))
