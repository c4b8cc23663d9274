"""`lua-lightning doctor`: check this installation and this folder."""

import argparse
from pathlib import Path

from lua_lightning.commands.command import Command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add no arguments: the command takes none."""


def run(options: argparse.Namespace) -> int:
    """Print the report on the current folder; the status is 1 when stage I cannot be trained in it."""
    from lua_lightning.doctor import doctor

    return doctor(Path.cwd())


COMMAND = Command(
    "doctor",
    "Check this installation, and name what is missing and what mends it.",
    "lua-lightning doctor",
    add_arguments,
    run,
)
