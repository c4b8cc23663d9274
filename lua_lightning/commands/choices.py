"""What can be chosen on the command line, listed without importing PyTorch."""

from collections.abc import Sequence

from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.models.known_codecs import KNOWN, PIXELS
from lua_lightning.recipes import recipes
from lua_lightning.zoo import zoo_adapters, zoo_autoencoders

ELSEWHERE = ("a folder", "a hub id")
GENERATOR_NAMES = (*GENERATORS, *ELSEWHERE)
SPLITS = ("val", "test")
SETTINGS_HINT = "Settings: `lua-lightning train --help` and docs/settings.md explain each."


def adapters() -> dict[str, Sequence[str]]:
    """Return the adapters that can be named, as a section of help takes them."""
    return {"adapters": [*zoo_adapters(), *ELSEWHERE]}


def codecs() -> dict[str, Sequence[str]]:
    """Return the codecs that can be named."""
    return {"codecs": [*zoo_autoencoders(), *KNOWN, PIXELS, *ELSEWHERE]}


def generators() -> dict[str, Sequence[str]]:
    """Return the generators that can be named."""
    return {"generators": GENERATOR_NAMES}


def experiments(folder: str = "") -> dict[str, Sequence[str]]:
    """Return the recipes in a folder of `experiments/`."""
    return {"recipes": recipes(folder)}
