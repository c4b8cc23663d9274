"""Recipe `sets`: photo sets that are there already, joined into one; each photograph keeps its split."""

import argparse
from pathlib import Path
from typing import Any

from data.candidates import Candidate, Harvest
from lua_lightning.errors import UserError
from lua_lightning.pairs.photos import PhotoSet


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which sets."""
    parser.add_argument("sets", type=Path, nargs="+", help="folders of photo sets, such as data/photos data/mine")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the sets and what they hold, so that a changed set is noticed.

    Raises:
        UserError: A folder is no photo set, or is `--out`.
    """
    if any(folder.resolve() == options.out.resolve() for folder in options.sets):
        raise UserError(f"--out {options.out} is one of the sets to join: give --out another folder")
    return {"sets": {str(folder): PhotoSet.load(folder).sha256 for folder in options.sets}}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """List every photograph of every set, with what its manifest knows of it."""
    harvest = Harvest()
    for folder in options.sets:
        photos = PhotoSet.load(folder)
        photos.verify()
        harvest.skipped += photos.skipped
        harvest.candidates += [
            Candidate(photos.path(photo), photo.source, photo.licence, photo.author, stored=photo, place=photo.place)
            for photo in photos.photos
        ]
    return harvest
