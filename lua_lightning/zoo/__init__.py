"""The models that ship inside the package, one folder each; listed by kind without importing PyTorch."""

import json
from pathlib import Path

ZOO = Path(__file__).parent
DEFAULT_ADAPTER = "lua-tiny-d64"


def zoo_names() -> list[str]:
    """Return the names of the adapters and autoencoders that ship inside the package."""
    return sorted(path.parent.name for path in ZOO.glob("*/config.json"))


def zoo_adapters() -> list[str]:
    """Return the names of the adapters that ship inside the package."""
    return [name for name in zoo_names() if _class_of(name) == "LatentUpscaler"]


def zoo_autoencoders() -> list[str]:
    """Return the names of the autoencoders that ship inside the package."""
    return [name for name in zoo_names() if _class_of(name) != "LatentUpscaler"]


def _class_of(name: str) -> str:
    return json.loads((ZOO / name / "config.json").read_text())["_class_name"]
