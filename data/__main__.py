"""Command line: `python -m data RECIPE [--out FOLDER] [options]`."""

import argparse
import os
import sys
from pathlib import Path

from data.build import build
from data.candidates import Sharpness
from data.options import at_least, fraction
from data.recipes import RECIPES, Recipe
from lua_lightning.errors import UserError


def parser() -> argparse.ArgumentParser:
    """Return the parser: one command per recipe, each with its own options and the shared ones."""
    main_parser = argparse.ArgumentParser(
        prog="python -m data", description="Bring photographs to train and measure on."
    )
    commands = main_parser.add_subparsers(dest="recipe", required=True, metavar="RECIPE")
    for name, recipe in RECIPES.items():
        command = commands.add_parser(name, help=recipe.summary, description=recipe.summary)
        recipe.add_options(command)
        if recipe.fallback:
            RECIPES[recipe.fallback].add_options(command)
            command.epilog = (
                f"Where they cannot be fetched, {recipe.fallback} is made instead, as its options here say."
            )
        _add_shared_options(command, name, recipe)
    return main_parser


def _add_shared_options(command: argparse.ArgumentParser, name: str, recipe: Recipe) -> None:
    shared = command.add_argument_group("shared by all recipes")
    shared.add_argument("--out", type=Path, default=Path("data") / name, help="folder to make (%(default)s)")
    for split, purpose in (("val", "to validate training on"), ("test", "kept for reported numbers")):
        shared.add_argument(
            f"--{split}-fraction", type=fraction, default=0.15, help=f"share {purpose}, by hash (%(default)s)"
        )
    shared.add_argument(
        "--min-side",
        type=at_least(32),
        help=f"smallest short side, in pixels, of an original and of what is stored ({recipe.min_side})",
    )
    shared.add_argument(
        "--target-softness",
        type=float,
        default=Sharpness.target_softness,
        help="reduce a photograph until bicubic alone restores it no better than this, in dB (%(default)s)",
    )
    shared.add_argument(
        "--max-softness",
        type=float,
        default=Sharpness.max_softness,
        help="leave out a photograph that stays softer than this, in dB (%(default)s)",
    )
    shared.add_argument("--workers", type=at_least(1), default=os.cpu_count(), help="images at once (%(default)s)")
    shared.add_argument("--force", action="store_true", help="make the set again even when it is there")


def main(arguments: list[str] | None = None) -> int:
    """Run one recipe; return 0, or 2 after an error that the user can mend."""
    options = parser().parse_args(arguments)
    try:
        build(options.recipe, options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
