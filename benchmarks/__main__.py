"""`python -m benchmarks SIZE`: every method under the protocol.

Command: make bench-512, bench-1024, bench-2048, bench-4096
"""

import argparse
import sys
from collections.abc import Sequence

from lua_lightning.commands.command import Command, add_settings, listing, run_command
from lua_lightning.signals import SAME_COMMAND

PROGRAM = "python -m benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks`."""
    add_settings(parser, "settings, listed below; a bare number, such as 1024, is the size")


def details() -> str:
    """Return what can be chosen, and every setting with its default."""
    from baselines.registry import METHODS
    from benchmarks.config import BenchConfig
    from lua_lightning.commands.choices import generators
    from lua_lightning.settings import settings_text

    choices = listing("choices", {"methods": [*METHODS], **generators()})
    return f"{choices}\n\n{settings_text('settings', BenchConfig)}"


def run(options: argparse.Namespace) -> int:
    """Run the benchmark that the settings describe."""
    from benchmarks.run import run

    return run([f"size={item}" if item.isdigit() else item for item in options.overrides])


COMMAND = Command(
    "benchmarks",
    "Measure every method at one size, and write a table, a report and an MLflow run.",
    f'{PROGRAM} 512 \'methods=["lua","swinir"]\' prompts=4',
    add_arguments,
    run,
    details,
    SAME_COMMAND,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks` and return the exit status."""
    return run_command(COMMAND, PROGRAM, arguments)


if __name__ == "__main__":
    sys.exit(main())
