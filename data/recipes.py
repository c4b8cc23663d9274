"""The table of recipes."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from data import arrow, dead_leaves, debian, folder, hub, packaged, sets, webdataset
from data.candidates import Harvest

AUTHOR, IMAGE = "author", "image"


@dataclass(frozen=True)
class Recipe:
    """A way to come by photographs.

    Attributes:
        summary: What it brings, as a noun phrase that help and messages use.
        add_options: Adds the recipe's own options to its command.
        settings: What of the options decides the result; goes into the manifest.
        collect: Brings the originals, below a work folder that is deleted afterwards where they must be fetched.
        example: What an example has after the recipe's name.
        min_side: Default of `--min-side`.
        fallback: Recipe that is made instead where this one's place cannot be reached.
        split_by: Default of `--split-by`. The default set is split by image: published numbers rest on its splits.
        resumes: Whether `collect` goes on with what an earlier call has left in its work folder.
    """

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    settings: Callable[[argparse.Namespace], dict[str, Any]]
    collect: Callable[[argparse.Namespace, Path], Harvest]
    example: str = ""
    min_side: int = 800
    fallback: str | None = None
    split_by: str = AUTHOR
    resumes: bool = False


def _recipe(summary: str, module: ModuleType, **facts: Any) -> Recipe:
    return Recipe(summary, module.add_options, module.settings, module.collect, **facts)


def _packaged_and_dead_leaves(options: argparse.Namespace, work: Path) -> Harvest:
    return packaged.collect(options, work) + dead_leaves.collect(options, work)


OFFLINE = "packaged+dead-leaves"

RECIPES: dict[str, Recipe] = {
    "photos": _recipe(
        "photographs from Debian's free-licence wallpaper packages", debian, fallback=OFFLINE, split_by=IMAGE
    ),
    "folder": _recipe("your own images", folder, example="~/Pictures --out data/mine"),
    "sets": _recipe(
        "photo sets that are there already, joined into one",
        sets,
        example="data/photos data/mine --out data/both",
        min_side=32,
    ),
    "hub": _recipe("images of a Hugging Face data set", hub, example="owner/name --limit 500", resumes=True),
    "webdataset": _recipe(
        "the pictures in WebDataset's tar files, read where they lie",
        webdataset,
        example="shards/*.tar --out data/shards",
    ),
    "arrow": _recipe(
        "the pictures of a Hugging Face data set on disk, read where they lie",
        arrow,
        example="my-data-set --column image --out data/rows",
    ),
    "packaged": _recipe("small photographs inside scikit-image and scikit-learn", packaged, min_side=256),
    "dead-leaves": _recipe(
        "synthetic images with the statistics of natural scenes", dead_leaves, example="--count 48", min_side=256
    ),
    OFFLINE: Recipe(
        "packaged photographs and synthetic images, all that can be had offline",
        dead_leaves.add_options,
        dead_leaves.settings,
        _packaged_and_dead_leaves,
        min_side=256,
        split_by=IMAGE,
    ),
}
