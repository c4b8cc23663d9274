"""Recipe `packaged`: the colour photographs inside installed wheels: small, but nothing is fetched."""

import argparse
import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

from data.candidates import Candidate, Harvest
from lua_lightning.pairs.photos import Skipped


class PackagedPhoto(NamedTuple):
    """A photograph inside an installed package: its path there, and what the package's documentation says of it."""

    package: str
    file: str
    author: str
    licence: str


# Left out on purpose: drawings, micrographs, retina and sky survey; grey textures; the second view of the motorcycle,
# which a hash would put into the other split.
PHOTOGRAPHS = (
    PackagedPhoto("skimage", "data/astronaut.png", "NASA", "public domain"),
    PackagedPhoto("skimage", "data/chelsea.png", "Stefan van der Walt", "CC0-1.0"),
    PackagedPhoto("skimage", "data/coffee.png", "Rachel Michetti", "CC0-1.0"),
    PackagedPhoto("skimage", "data/motorcycle_left.png", "Middlebury 2014 stereo benchmark", "none stated"),
    PackagedPhoto("skimage", "data/rocket.jpg", "SpaceX", "public domain"),
    PackagedPhoto("sklearn", "datasets/images/china.jpg", "danielbuechele", "CC-BY-2.0"),
    PackagedPhoto("sklearn", "datasets/images/flower.jpg", "vultilion", "CC-BY-2.0"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: which photographs there are is a table, not a choice."""


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return nothing beside the shared settings."""
    return {}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """Look up the photographs of the table in the packages that are installed."""
    harvest = Harvest()
    for photograph in PHOTOGRAPHS:
        source = f"{photograph.package}:{photograph.file}"
        path = _find(photograph)
        if path is None:
            harvest.skipped.append(Skipped(source, f"not installed: {photograph.package} has no such file here"))
        else:
            harvest.candidates.append(Candidate(path, source, photograph.licence, photograph.author))
    return harvest


def _find(photograph: PackagedPhoto) -> Path | None:
    spec = importlib.util.find_spec(photograph.package)  # finds the folder without the seconds an import takes
    folders = spec.submodule_search_locations if spec else None
    paths = [Path(folder) / photograph.file for folder in folders or []]
    return next((path for path in paths if path.is_file()), None)
