"""Recipe `arrow`: the pictures of a Hugging Face data set on disk, which are read where they lie."""

import argparse
from pathlib import Path
from typing import Any

from data.candidates import Candidate, Harvest
from lua_lightning.errors import UserError
from lua_lightning.pairs.places import Place, rows_of


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which data set, split and column."""
    parser.add_argument("folder", type=Path, help="what a data set's save_to_disk wrote; it must stay there")
    parser.add_argument("--split", default="train", help="split, where the folder holds several")
    parser.add_argument("--column", default="image", help="column that holds the images")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the data set and its fingerprint, so that a changed one is noticed.

    Raises:
        UserError: There is no such data set or column.
    """
    folder = _folder(options)
    rows = rows_of(str(folder), options.column)
    return {"folder": str(folder), "column": options.column, "fingerprint": rows._fingerprint}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """List the rows."""
    folder = _folder(options)
    rows = rows_of(str(folder), options.column)
    licence = rows.info.license or "not stated by the data set"
    return Harvest([_candidate(folder, row, options.column, licence) for row in range(len(rows))])


def _folder(options: argparse.Namespace) -> Path:
    """Return the folder of the one split."""
    folder = options.folder.expanduser().resolve()
    if not (folder / "dataset_dict.json").is_file():
        return folder
    if not (folder / options.split / "state.json").is_file():
        splits = sorted(path.parent.name for path in folder.glob("*/state.json"))
        raise UserError(f"{options.folder} has no split {options.split!r}, its splits: {', '.join(splits)}")
    return folder / options.split


def _candidate(folder: Path, row: int, column: str, licence: str) -> Candidate:
    name = f"{folder.name}-{row:06d}"
    return Candidate(
        Path(name), f"arrow:{folder.name}/{row}", licence, name=name, place=Place(str(folder), row, column=column)
    )
