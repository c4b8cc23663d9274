"""`lua-lightning sweep`: train every variant of a sweep file and compare them."""

import argparse

from lua_lightning.commands.choices import SETTINGS_HINT, experiments
from lua_lightning.commands.command import Command, add_settings, listing
from lua_lightning.recipes import find_recipe
from lua_lightning.signals import SAME_COMMAND


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning sweep`."""
    parser.add_argument("sweep", type=find_recipe, help="YAML file or recipe, such as sweeps/losses")
    add_settings(parser, "settings of every run, such as train.steps=500, or of one stage: stage3:train.steps=500")
    parser.add_argument("--seeds", help="seeds to train every variant with, such as 0,1,2 (default: the file's)")
    parser.add_argument("--dry-run", action="store_true", help="list the runs and the expected time, and stop")
    parser.add_argument("--retry-failed", action="store_true", help="train those runs again that failed before")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one per GPU; 2 without a GPU)")
    parser.add_argument("--cluster", choices=("local", "slurm"), default="local", help="where the runs are trained")
    parser.add_argument(
        "--slurm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="parameter of the Slurm job, such as partition=gpu; repeatable (default: none)",
    )


def details() -> str:
    """Return the files that can be chosen."""
    return listing("choices", experiments("sweeps")) + f"\n\n{SETTINGS_HINT}"


def run(options: argparse.Namespace) -> int:
    """Train what is missing of the sweep; the status is 1 when a run of it is missing in the end."""
    from lua_lightning.sweeps.main import main

    return main(options)


COMMAND = Command(
    "sweep",
    "Train every variant of a sweep file and compare them.",
    "lua-lightning sweep experiments/sweeps/losses.yaml --dry-run",
    add_arguments,
    run,
    details,
    SAME_COMMAND,
)
