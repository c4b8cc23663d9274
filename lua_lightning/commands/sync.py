"""`lua-lightning sync`: send a run's records that MLflow has not received."""

import argparse
from pathlib import Path

from lua_lightning.commands.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning sync`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder, such as runs/stage1/20260131-120000")


def run(options: argparse.Namespace) -> None:
    """Send what is missing and print how much that was."""
    from lua_lightning.tracking.sync import sync

    print(f"{sync(options.run)} records and files sent")


COMMAND = Command(
    "sync",
    "Send a run's records that MLflow has not received.",
    "lua-lightning sync runs/stage1/20260131-120000",
    add_arguments,
    run,
)
