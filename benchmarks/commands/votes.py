"""`lua-lightning votes`: the votes of several people, merged into scores with intervals."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lua_lightning.commands.command import Command

SCORES = ("win_rate", "preference")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning votes`."""
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="votes that the page exported")
    parser.add_argument(
        "--allowed", type=int, help="leave out those who failed more attention pairs (default: leave out nobody)"
    )
    parser.add_argument("--run", dest="benchmark", type=Path, help="benchmark that shows them (default: none)")


def run(options: argparse.Namespace) -> None:
    """Print the tables on stderr, the scores as Markdown and everything as one JSON line on stdout."""
    from benchmarks.finished import VOTES, folder_of_run, images_of, read_results, with_votes
    from benchmarks.votes import SAME, summary
    from lua_lightning.errors import UserError
    from lua_lightning.files import write_json

    found = summary(options.files, options.allowed)
    if options.benchmark:
        from benchmarks.report import write_report

        results, folder = read_results(options.benchmark), folder_of_run(options.benchmark)
        for key in SAME:
            if results[key] != found[key]:
                raise UserError(
                    f"the votes are of {key} {found[key]!r}, and {folder} has {results[key]!r}: name its run"
                )
        write_json(folder / VOTES, found)
        write_report(with_votes(results, folder), images_of(folder, results), folder)
    print_tables(found)
    print(markdown(found))
    print(json.dumps(found))


def ranked(found: Mapping[str, Any]) -> list[list[str]]:
    """Return a line for each method, the best first: name, then each score with its interval."""
    from lua_lightning.evaluation.intervals import Estimate
    from lua_lightning.evaluation.registry import metric_of

    order = sorted(found["scores"].items(), key=lambda item: -item[1]["preference"]["value"])
    return [[name, *(metric_of(key).estimate(Estimate(**scores[key])) for key in SCORES)] for name, scores in order]


def markdown(found: Mapping[str, Any]) -> str:
    """Return the table of scores in Markdown."""
    from lua_lightning.evaluation.registry import label_of
    from lua_lightning.evaluation.tables import markdown_table

    return markdown_table(["method", *map(label_of, SCORES)], ranked(found))


def print_tables(found: Mapping[str, Any]) -> None:
    """Print scores, voters and agreement on stderr."""
    from rich.console import Console
    from rich.markup import escape

    from lua_lightning.evaluation.registry import label_of
    from lua_lightning.evaluation.tables import plain_table

    console = Console(stderr=True)
    title = f"{found['votes']} votes on {found['prompts']} prompts; 95 % intervals over voters and prompts"
    table = plain_table(title, "method", map(label_of, SCORES))
    for line in ranked(found):
        table.add_row(*map(escape, line))
    console.print(table)
    voters = plain_table("voters", "voter", ("votes", "left, %", "no difference, %", "attention failed"))
    for entry in found["voters"]:
        name = entry["voter"] + ("" if entry["counted"] else " (left out)")
        shares = (f"{100 * entry[key]:.0f}" for key in ("left", "ties"))
        voters.add_row(escape(name), str(entry["votes"]), *shares, f"{entry['failed']} of {entry['attention']}")
    console.print(voters)
    agreement = found["agreement"]
    if agreement["same"] is not None:
        alpha = "" if agreement["alpha"] is None else f"; Krippendorff's alpha {agreement['alpha']:.2f}"
        console.print(
            f"two voters agree on {100 * agreement['same']:.0f} % of {agreement['pairs']} shared pairs{alpha}"
        )


COMMAND = Command(
    "votes",
    "Merge blind votes into scores of every method, with intervals.",
    "lua-lightning votes votes-ada.json votes-bob.json --run runs/bench/512-tiny-sdxl-0a1b2c3d",
    add_arguments,
    run,
)
