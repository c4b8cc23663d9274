"""The leaderboard: add checked results to `docs/leaderboard.json`, and make the tables of `docs/leaderboard.md` of it.

Command: make leaderboard RESULTS=runs/bench/512-tiny-sdxl-0a1b2c3d/results.json
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.finished import read_json
from benchmarks.report import cell, cost, named
from benchmarks.report_page import COST, columns_of
from benchmarks.submission import problems
from docs.pages import ROOT, write_between
from lua_lightning.commands.command import Command, run_command
from lua_lightning.errors import UserError
from lua_lightning.evaluation.registry import label_of
from lua_lightning.evaluation.tables import markdown_table
from lua_lightning.files import write_json

PROGRAM = "python -m docs.leaderboard"
ENTRIES, PAGE = ROOT / "docs/leaderboard.json", ROOT / "docs/leaderboard.md"
FACTS = (
    "protocol",
    "generator",
    "size",
    "base_size",
    "device",
    "commit",
    "photos_sha256",
)  # that results and entries both have
COUNTS = ("steps", "prompts", "crops_per_photo", "adapter")  # settings that numbers depend on
COST_KEYS = ("seconds", "seconds_spread", "peak_memory_mib")


def entry_of(results: Mapping[str, Any], by: str) -> dict[str, Any]:
    """Return what the leaderboard keeps of results: facts, counts, and rows with their intervals and costs."""
    rows = [
        {
            **{key: row[key] for key in ("method", "track", "n", "device", *COST_KEYS) if key in row},
            "metrics": {name: metric for name, metric in row["metrics"].items() if "value" in metric},
        }
        for row in results["rows"]
    ]
    facts = {key: results.get(key) for key in FACTS}
    return facts | {"by": by, "config": {key: results["config"].get(key) for key in COUNTS}, "rows": rows}


def added(entries: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries with a new one, in place of one of the same facts, settings and sender."""
    keys = (*FACTS, "by", "config")
    return [entry for entry in entries if any(entry[key] != new[key] for key in keys)] + [new]


def tables(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown of all entries: the newest protocol first; no table holds numbers of two measurements."""
    blocks = []
    for version in sorted({entry["protocol"] for entry in entries}, key=int, reverse=True):
        blocks.append(f"## Protocol {version}")
        of_version = [entry for entry in entries if entry["protocol"] == version]
        for entry in sorted(
            of_version, key=lambda entry: (entry["generator"], entry["size"], entry["device"], entry["by"])
        ):
            blocks.append(f"### {entry['size']} px with {entry['generator']} on {safe(entry['device'])}")
            config = ", ".join(f"{key} {value}" for key, value in entry["config"].items() if value is not None)
            photos = f", photographs `{entry['photos_sha256'][:12]}`" if entry["photos_sha256"] else ""
            blocks.append(f"By {safe(entry['by'])}, commit `{entry['commit'][:12]}`{photos}.\n{safe(config)}.")
            for track in ("reconstruction", "generation"):
                rows = [row for row in entry["rows"] if row["track"] == track]
                if rows:
                    blocks.append(track_table(track, rows))
    return "\n\n".join(blocks)


def track_table(track: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of one track of one entry."""
    names, timed = columns_of(rows), COST if any("seconds" in row for row in rows) else ()
    lines = [
        [safe(named(row)), str(row["n"]), *(cell(row, name) for name in names), *(cost(row) if timed else ())]
        for row in rows
    ]
    return markdown_table([track, "n", *map(label_of, (*names, *timed))], lines)


def safe(text: str) -> str:
    """Return text that Markdown takes for nothing else: letters, digits and a few signs stay."""
    return " ".join("".join(sign if sign.isalnum() or sign in ".,-_+()@/" else " " for sign in text).split())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m docs.leaderboard`."""
    parser.add_argument("files", nargs="*", type=Path, metavar="RESULTS", help="results.json to add")
    parser.add_argument("--by", default="the authors", help="who measured, as the page shows it")


def run(options: argparse.Namespace) -> None:
    """Check and add results, and write the page's tables anew.

    Raises:
        UserError: A file has problems; nothing is written then.
    """
    entries = json.loads(ENTRIES.read_text())["entries"] if ENTRIES.is_file() else []
    for path in options.files:
        results = read_json(path)
        wrong = problems(results)
        if wrong:
            raise UserError(
                f"{path} was not added: {wrong[0]} ({len(wrong)} problems; make check-submission lists them)"
            )
        entries = added(entries, entry_of(results, options.by))
    write_json(ENTRIES, {"format": 1, "entries": entries})
    write_between(PAGE, "entries", "\n" + tables(entries) + "\n")


COMMAND = Command(
    "leaderboard",
    "Add checked results to the leaderboard and write its page.",
    f'{PROGRAM} runs/bench/512-tiny-sdxl-0a1b2c3d/results.json --by "Ada Lovelace"',
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m docs.leaderboard` and return the exit status."""
    return run_command(COMMAND, PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
