"""`lua-lightning chain`: several stages in a row, each from the weights of the one before."""

import argparse
import json
import sys
from pathlib import Path

from lua_lightning.checkout import how_to_see_runs
from lua_lightning.commands.choices import SETTINGS_HINT, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.recipes import find_recipe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning chain`."""
    parser.add_argument("chain", type=find_recipe, help="YAML file or recipe, such as chains/full")
    add_settings(parser, "settings of every stage, such as train.steps=500, or of one: stage3:train.steps=500")
    parser.add_argument("--resume", action="store_true", help="resume the newest unfinished chain of that name")
    parser.add_argument(
        "--folder", type=Path, help="the chain's folder; an unfinished chain found there is resumed (default: by name)"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        help="time for the whole chain: each stage takes as many steps as fit its share (default: the files' steps)",
    )


def details() -> str:
    """Return the files that can be chosen."""
    return listing("choices", experiments("chains")) + f"\n\n{SETTINGS_HINT}"


def run(options: argparse.Namespace) -> None:
    """Train the stages, print the closing table on stderr and one JSON line on stdout."""
    from lua_lightning.training.chain import print_report, run_chain
    from lua_lightning.training.runs import Finished, named_folder, results_of

    folder = options.folder and named_folder(options.folder)
    try:
        report = run_chain(options.chain, options.overrides, options.resume, folder, minutes=options.minutes)
    except Finished:
        if folder is None:
            raise
        report = results_of(folder)
    if report:  # empty on every process but the first
        print_report(report)
        print(f"adapter in {report['adapter']}; {how_to_see_runs()} shows the chain and its stages", file=sys.stderr)
        print(json.dumps(report))


COMMAND = Command(
    "chain",
    "Train several stages in a row, each from the weights of the one before.",
    "lua-lightning chain experiments/chains/full.yaml stage1:train.steps=500",
    add_arguments,
    run,
    details,
)
