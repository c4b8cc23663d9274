"""Command line: `python -m data RECIPE [options]`, one command per recipe of the table in recipes.py."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from data.build import build
from data.candidates import Sharpness
from data.options import at_least, fraction
from data.recipes import AUTHOR, IMAGE, RECIPES
from lua_lightning.commands.command import Command, CommandLine

PROGRAM = "python -m data"


def command(name: str) -> Command:
    """Return the command of a recipe."""
    recipe = RECIPES[name]
    return Command(
        name,
        f"Prepare {recipe.summary}.",
        f"{PROGRAM} {name} {recipe.example}".rstrip(),
        partial(add_arguments, name),
        partial(run, name),
        partial(details, name),
    )


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    """Add a recipe's own options, those of its fallback and the shared ones."""
    recipe = RECIPES[name]
    recipe.add_options(parser)
    if recipe.fallback:
        RECIPES[recipe.fallback].add_options(parser)
    shared = parser.add_argument_group("shared by all recipes")
    shared.add_argument("--out", type=Path, default=Path("data") / name, help="folder to make")
    for split, purpose in (("val", "to validate training on"), ("test", "kept for reported numbers")):
        shared.add_argument(
            f"--{split}-fraction", type=fraction, default=0.15, help=f"share of the photographs {purpose}, by hash"
        )
    shared.add_argument(
        "--min-side",
        type=at_least(32),
        help="smallest short side, in pixels, of an original and of what is stored "
        f"(default: {recipe.min_side}, the recipe's own)",
    )
    shared.add_argument(
        "--target-softness",
        type=float,
        default=Sharpness.target_softness,
        help="reduce a photograph until bicubic alone restores it no better than this, in dB",
    )
    shared.add_argument(
        "--max-softness",
        type=float,
        default=Sharpness.max_softness,
        help="leave out a photograph that stays softer than this, in dB",
    )
    shared.add_argument(
        "--split-by",
        choices=(AUTHOR, IMAGE),
        help="author: all photographs of an author whose name is known go to one split; image: each by itself "
        f"(default: {recipe.split_by})",
    )
    shared.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="images at once")
    shared.add_argument("--force", action="store_true", help="make the set again even when it is there")


def details(name: str) -> str:
    """Return what a recipe with a fallback does where its source cannot be reached."""
    fallback = RECIPES[name].fallback
    return f"Where they cannot be fetched, the recipe {fallback} is made instead, with its options." if fallback else ""


def run(name: str, options: argparse.Namespace) -> None:
    """Make the photo set of a recipe."""
    build(name, options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one recipe; return 0, or 2 after a mistake that the user can mend."""
    table = [command(name) for name in RECIPES]
    program = CommandLine(PROGRAM, "Prepare photographs to train and measure on.", f"{PROGRAM} photos", table)
    return program.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
