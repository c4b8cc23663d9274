"""Recipe `hub`: the images of a Hugging Face data set, or of a local folder in its format, streamed."""

import argparse
import json
import logging
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from data.candidates import Candidate, Harvest, Unreachable
from data.options import at_least
from lua_lightning.errors import UserError
from lua_lightning.files import write_bytes, write_json
from lua_lightning.pairs.photos import Skipped

PROGRESS, NOTED_EVERY = "progress.json", 20  # rows between two notes of how far the fetching is


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add which data set, split and column, and how many images."""
    parser.add_argument("dataset", help="id of a data set on the hub (owner/name), or a local folder in its format")
    parser.add_argument("--split", default="train", help="split of the data set")
    parser.add_argument("--column", default="image", help="column that holds the images")
    parser.add_argument("--limit", type=at_least(2), default=200, help="images to fetch, from the first on")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options; whether the data set has changed since is not looked at."""
    return {name: getattr(options, name) for name in ("dataset", "split", "column", "limit")}


def collect(options: argparse.Namespace, work: Path) -> Harvest:
    """Write the original bytes of the first `limit` images into `work`.

    Raises:
        UserError: `datasets` is not installed, or the data set has no such split or column.
        Unreachable: The data set cannot be found or fetched.
    """
    try:
        import datasets
    except ImportError as error:
        raise UserError("the hub recipe needs the package datasets: pip install datasets") from error
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # a line per retry, before our one sentence
    try:
        rows = datasets.load_dataset(options.dataset, split=options.split, streaming=True)
        columns = rows.column_names or ["(none declared)"]
        if options.column not in columns:
            raise UserError(f"{options.dataset} has no column {options.column!r}, its columns: {', '.join(columns)}")
        licence = rows.info.license or "not stated by the data set"
        return _fetch(rows.cast_column(options.column, datasets.Image(decode=False)), options, licence, work)
    except UserError:
        raise
    except Exception as error:  # the client raises dozens of unrelated types for unreachable, unknown and gated sets
        reason = " ".join(str(error).split()) or type(error).__name__
        raise Unreachable(
            f"the data set {options.dataset} cannot be read, from the hub or from disk: {reason}"
        ) from error


def _fetch(rows: Any, options: argparse.Namespace, licence: str, work: Path) -> Harvest:
    """Write the images of streamed rows; after a kill or a lost connection the next call goes on where this one was."""
    asked, progress = settings(options), work / PROGRESS
    noted: dict[str, Any] = {}
    try:
        noted = json.loads(progress.read_text())
        done, empty = (noted["rows"], noted["empty"]) if noted["settings"] == asked else (0, [])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        done, empty = 0, []
    if done:
        print(f"{done} rows are here already: going on behind them", file=sys.stderr)
        rows.load_state_dict(noted["stream"])  # whole files of the data set that are behind it are not read again
    for row in islice(rows, options.limit - done):
        content = _content(row[options.column])
        if content is None:
            empty.append(done)
        else:
            write_bytes(work / f"image-{done:06d}", content)
        done += 1
        if done % NOTED_EVERY == 0:
            note = {"settings": asked, "rows": done, "empty": empty, "stream": rows.state_dict()}
            write_json(progress, note)
    harvest = Harvest()
    for index in range(done):
        source = f"hub:{options.dataset}/{options.split}/{index}"
        if index in empty:
            harvest.skipped.append(Skipped(source, "no image: the row's column is empty"))
        else:
            harvest.candidates.append(Candidate(work / f"image-{index:06d}", source, licence))
    return harvest


def _content(image: dict[str, Any] | None) -> bytes | None:
    """Return the image file's bytes, which lie in the row itself or behind its path, local or remote."""
    from fsspec.core import url_to_fs

    if image is None:
        return None
    if image["bytes"] is not None:
        return image["bytes"]
    filesystem, path = url_to_fs(image["path"])
    return filesystem.cat_file(path)
