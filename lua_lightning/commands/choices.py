"""What can be chosen on the command line, listed without importing PyTorch."""

from collections.abc import Sequence
from pathlib import Path

from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.models.known_codecs import KNOWN, PIXELS
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
    """Return the YAML files in a folder of `experiments/`, where there is one."""
    files = [path.as_posix() for path in sorted((Path("experiments") / folder).glob("*.yaml"))]
    return {"files": files or ["none here: a checkout of lua-lightning has them in experiments/"]}
