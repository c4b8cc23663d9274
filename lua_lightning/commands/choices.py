"""What can be chosen on the command line, listed without importing PyTorch."""

from lua_lightning.commands.command import listing
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.models.known_codecs import KNOWN, PIXELS
from lua_lightning.zoo import zoo_adapters, zoo_autoencoders

SPLITS = ("val", "test")
ADAPTERS = [*zoo_adapters(), "a folder", "a hub id"]
CODECS = [*zoo_autoencoders(), *KNOWN, PIXELS, "a folder", "a hub id"]
GENERATOR_NAMES = [*GENERATORS, "a folder", "a hub id"]
SETTINGS_HINT = "Settings: `lua-lightning train --help` and docs/settings.md explain each."


def models() -> str:
    """Return the help section that lists adapters and codecs."""
    return listing("choices", {"adapters": ADAPTERS, "codecs": CODECS})


def settings_hint() -> str:
    """Return the sentence that says where settings are explained."""
    return SETTINGS_HINT
