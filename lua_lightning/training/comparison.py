"""Finished runs against a first one, crop by crop on the same held-out photographs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lua_lightning.config import RunConfig, load_config
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.held_out import measure
from lua_lightning.evaluation.intervals import CropScores, Estimate, paired_differences, read_scores, write_scores
from lua_lightning.evaluation.registry import keys_of, label_of, metric_of
from lua_lightning.evaluation.tables import markdown_table, plain_table
from lua_lightning.pairs.photos import Split
from lua_lightning.training.runs import CONFIG, RESULTS, SCORES, check_same_photographs

FACTS = {"steps": int, "hours": (int, float)}  # of a run's results


def compare(folders: Sequence[Path], split: Split = "val") -> list[dict[str, Any]]:
    """Return, for each run after the first, its label and the paired difference to the first in every metric.

    Args:
        folders: Folders of finished runs on the same crops; at least two.
        split: `val`, as scored when training ended, or `test`, measured now unless it has been before.

    Raises:
        UserError: A folder holds no finished run, or the runs were validated on different crops.
    """
    if len(folders) < 2:
        raise UserError("compare needs at least two run folders: the one to compare with, then the others")
    (first, reference), *others = [(folder, _scores(folder, split)) for folder in folders]
    check_same_photographs(folders)
    rows = []
    for folder, scores in others:
        try:
            differences = paired_differences(scores, reference)
        except ValueError as error:
            raise UserError(
                f"{folder} and {first} were validated on different crops: compare runs of one cache"
            ) from error
        results = read_json(folder / RESULTS, keys=FACTS)
        rows.append(
            {"run": str(folder), "steps": results["steps"], "hours": results["hours"], "differences": differences}
        )
    return rows


def _scores(folder: Path, split: Split) -> list[CropScores]:
    if not (folder / RESULTS).is_file() or not (folder / SCORES).is_file():
        raise UserError(f"{folder} holds no finished run: it has no {RESULTS} or no {SCORES}")
    read_json(folder / RESULTS, keys=FACTS)
    if split == "val":
        return read_scores(folder / SCORES)
    kept = folder / f"{split}-{SCORES}"
    if not kept.is_file():
        write_scores(kept, measure(folder / "adapter", load_config(RunConfig, folder / CONFIG), split))
    return read_scores(kept)


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the differences as a Markdown table; those whose interval leaves out zero are bold."""
    names = _names(rows)
    lines = [[row["run"], *(_cell(name, row["differences"][name]) for name in names)] for row in rows]
    return markdown_table(["run", *map(label_of, names)], lines)


def _names(rows: Sequence[dict[str, Any]]) -> list[str]:
    found = rows[0]["differences"]
    scales = sorted({name.partition("/")[0] for name in found})
    return [f"{scale}/{metric}" for scale in scales for metric in keys_of("pairs") if f"{scale}/{metric}" in found]


def _cell(name: str, difference: Estimate) -> str:
    text = metric_of(name).difference(difference)
    return f"**{text}**" if difference.clear else text


def print_table(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Print the differences on stderr, one column per run."""
    table = plain_table(title, "metric", [Path(row["run"]).parent.name for row in rows])
    for name in _names(rows):
        table.add_row(label_of(name), *(_cell(name, row["differences"][name]).strip("*") for row in rows))
    Console(stderr=True).print(table)
