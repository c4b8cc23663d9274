"""`lua-lightning compare`: finished runs against a first one, crop by crop on the same held-out photographs."""

import argparse
import json
from pathlib import Path

from lua_lightning.commands.choices import SPLITS
from lua_lightning.commands.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning compare`."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="run folders; the others are compared with the first"
    )
    parser.add_argument("--split", choices=SPLITS, default="val", help="photographs to compare on")


def run(options: argparse.Namespace) -> None:
    """Print the table on stderr, the same as Markdown and one JSON line on stdout."""
    from lua_lightning.training.comparison import compare, markdown, print_table

    rows = compare(options.runs, options.split)
    print_table(rows, f"difference to {options.runs[0]} on {options.split}; 95 % intervals over photographs")
    print(markdown(rows))
    print(json.dumps([{**row, "differences": {n: d.entry() for n, d in row["differences"].items()}} for row in rows]))


COMMAND = Command(
    "compare",
    "Compare finished runs with a first one, crop by crop.",
    "lua-lightning compare runs/stage1/20260131-120000 runs/stage2/20260131-130000 --split test",
    add_arguments,
    run,
)
