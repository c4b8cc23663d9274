"""Remake the tables of `docs/speed.md` from what was measured here.

Command: make docs-speed   (after the commands that the page gives; what has not been measured keeps its old table)
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import attention, decode_speed, train_table, upscale_speed
from docs.pages import ROOT, write_between
from lua_lightning.commands.command import Command, run_command
from lua_lightning.documents import read_json
from lua_lightning.evaluation.rows import LUA
from lua_lightning.evaluation.tables import markdown_table

PAGE = ROOT / "docs/speed.md"
Results = Mapping[str, Any]


def methods(results: Results) -> str:
    """Return the table of `make bench-speed`: seconds of every method at each size, and times the adapter's.

    The time of a ratio is that after the base latents, and its interval that of the slowest and fastest repetitions.
    """
    lines = []
    for row in results["rows"]:
        line = [str(row["size"]), row["method"]]
        if "unavailable" in row:
            lines.append([*line, "-", "-", row["unavailable"]])
            continue
        seconds, memory = row["seconds"].values(), max(row["peak_memory_mib"].values())
        whole, count = sum(spread["median"] for spread in seconds), min(spread["n"] for spread in seconds)
        lines.append([*line, f"{whole:.2f}", ratio(results, row), f"{memory:.0f} MiB, n={count}"])
    heads = ["result, px", "method", "seconds", f"times {LUA}, after the base latents", "peak memory"]
    graph = (
        f"graph `{results['graph']}` with random weights, {results['steps']} denoising steps; nothing is extrapolated"
    )
    return f"{graph[0].upper()}{graph[1:]}.\n\n{markdown_table(heads, lines)}"


def ratio(results: Results, row: Results) -> str:
    """Return how many times as long a method takes after the base latents as the adapter does, with its interval."""
    found = [other for other in results["rows"] if (other["method"], other["size"]) == (LUA, row["size"])]
    if not found or "seconds" not in found[0] or found[0] is row:
        return "-"

    def after_base(of: Results, end: str) -> float:
        return sum(spread[end] for phase, spread in of["seconds"].items() if phase != "generate")

    middle, low, high = (
        after_base(row, ours) / after_base(found[0], theirs)
        for ours, theirs in (("median", "median"), ("low", "high"), ("high", "low"))
    )
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


# Marker in the page: the file that a command leaves, and what makes a table of it.
TABLES: dict[str, tuple[str, Callable[[Results], str]]] = {
    "training": ("train-speed.json", train_table.markdown),
    "attention": ("attention.json", attention.markdown),
    "decoding": ("decode-speed.json", decode_speed.markdown),
    "end to end": ("upscale-speed.json", upscale_speed.markdown),
    "speed table": ("speed/sdxl-small/speed.json", methods),
}


def heading(results: Results) -> str:
    """Return the sentence above a table: what it was measured on."""
    threads = f", {results['threads']} threads" if "threads" in results else ""
    versions = f", PyTorch {results['versions']['torch']}" if "versions" in results else ""
    commit = f", commit {str(results['commit'])[:7]}" if results.get("commit") else ""
    return f"Measured on {results['device']}{threads}{versions}{commit}."


def write(page: Path, runs: Path) -> list[str]:
    """Put every table whose file is there into the page, and return what is missing."""
    missing = []
    for name, (file, table) in TABLES.items():
        path = runs / file
        if path.is_file():
            results = read_json(path)
            write_between(page, name, f"{heading(results)}\n\n{table(results)}")
        else:
            missing.append(f"{name}: {path} is not there")
    return missing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m docs.speed_tables`."""
    parser.add_argument("--runs", type=Path, default=ROOT / "runs", help="folder of the measured results")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that receives the tables")


def run(options: argparse.Namespace) -> int:
    """Write every table that was measured; say which were not."""
    missing = write(options.page, options.runs)
    for text in missing:
        print(f"docs.speed_tables: {text}; its table stays as it was", file=sys.stderr)
    return 1 if missing else 0


COMMAND = Command(
    "speed_tables",
    "Remake the tables of docs/speed.md from what was measured here.",
    "python -m docs.speed_tables",
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m docs.speed_tables` and return the exit status."""
    return run_command(COMMAND, "python -m docs.speed_tables", arguments)


if __name__ == "__main__":
    sys.exit(main())
