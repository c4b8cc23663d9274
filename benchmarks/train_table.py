"""Tables of what `benchmarks.train_speed` measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lua_lightning.evaluation.tables import markdown_table, plain_table

PARTS = ("data", "forward", "decode", "losses", "backward", "optimiser", "logging", "rest")
GOALS = {"ratio": {"stage1": 1.5, "stage2": 1.3, "stage3": 1.3}, "share": {"light": 0.35, "paper": 0.6}}
HEADS = ("batch, side", "ours", "plain", "ratio", "of the rate")
NUMERALS = {"stage1": "I", "stage2": "II", "stage3": "III"}

Row = Mapping[str, Any]


def cells(row: Row) -> list[str]:
    """Return a row of the first table, in the order of `HEADS`."""
    rates, ratio = row["images_per_second"], row["ratio"]
    return [
        f"{row['batch']}, {row['side']}",
        f"{rates['ours']:.2f}",
        f"{rates['plain']:.2f}",
        f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})",
        f"{row['share']:.1%}",
    ]


def label(row: Row) -> str:
    """Return the size and the stage of a row."""
    return f"{row['size']}, {NUMERALS.get(row['stage'], row['stage'])}"


def part_cells(row: Row, loop: str) -> list[str]:
    """Return the share of each part in the step of a loop."""
    parts = row["parts"][loop]
    whole = sum(parts.values()) or 1.0
    return [f"{parts[part] / whole:.0%}" if part in parts else "-" for part in PARTS]


def goals(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each row that is below a goal."""
    said = []
    for row in rows:
        name, ratio = label(row), row["ratio"]["median"]
        if ratio < (goal := GOALS["ratio"].get(row["stage"], 0)):
            said.append(f"{name}: {ratio:.2f} times the plain loop, the goal is {goal}")
        if row["share"] < (goal := GOALS["share"].get(row["size"], 0)):
            said.append(f"{name}: {row['share']:.0%} of the matrix rate, the goal is {goal:.0%}")
    return said


def print_card(rows: Sequence[Row]) -> None:
    """Print both tables, and what is below its goal, on stderr."""
    console = Console(stderr=True)
    table = plain_table("training steps against a plain loop, images per second", "size, stage", HEADS)
    parts = plain_table("shares of a step", "size, stage", ["loop", *PARTS])
    for row in rows:
        table.add_row(label(row), *cells(row))
        for loop in ("ours", "plain"):
            parts.add_row(label(row), loop, *part_cells(row, loop))
    console.print(table)
    console.print(parts)
    for sentence in goals(rows):
        console.print(sentence, highlight=False)


def markdown(results: Mapping[str, Any]) -> str:
    """Return both tables as Markdown."""
    rows = results["rows"]
    heads = ["size, stage", "batch, side", "ours, images/s", "plain, images/s", *HEADS[3:]]
    first = markdown_table(heads, [[label(row), *cells(row)] for row in rows])
    second = markdown_table(
        ["size, stage", "loop", *PARTS],
        [[label(row), loop, *part_cells(row, loop)] for row in rows for loop in ("ours", "plain")],
    )
    return f"{first}\n\n{second}"
