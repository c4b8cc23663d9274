"""`lua-lightning search`: search the weights of the loss terms with Optuna."""

import argparse
import importlib.util
import json

from lua_lightning.commands.choices import SETTINGS_HINT, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.errors import UserError
from lua_lightning.recipes import find_recipe
from lua_lightning.signals import SAME_COMMAND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning search`."""
    parser.add_argument("search", type=find_recipe, help="YAML file or recipe, such as searches/losses")
    add_settings(parser, "settings of every trial, such as train.steps=500, or of one stage: stage3:train.steps=500")
    parser.add_argument("--trials", type=int, help="finished trials to end with (default: the file's)")


def details() -> str:
    """Return the files that can be chosen."""
    return listing("choices", experiments("searches")) + f"\n\n{SETTINGS_HINT}"


def run(options: argparse.Namespace) -> None:
    """Run what is missing of the search, print a table on stderr and one JSON line on stdout."""
    if options.trials is not None and options.trials < 1:
        raise UserError(f"--trials {options.trials} must be 1 or more")
    if importlib.util.find_spec("optuna") is None:
        raise UserError("the package optuna is not installed: pip install 'lua-lightning[metrics,sweep]'")
    from lua_lightning.sweeps.search import print_card, run_search

    report = run_search(options.search, options.overrides, options.trials)
    print_card(report)
    print(json.dumps(report))


COMMAND = Command(
    "search",
    "Search the weights of the loss terms with Optuna.",
    "lua-lightning search experiments/searches/losses.yaml --trials 8",
    add_arguments,
    run,
    details,
    SAME_COMMAND,
)
