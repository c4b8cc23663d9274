"""`lua-lightning table`: a finished benchmark's numbers with their intervals, for a paper, a sheet or a page."""

import argparse
import sys
from pathlib import Path

from lua_lightning.commands.command import Command

FORMATS = ("latex", "csv", "markdown")
TRACKS = ("reconstruction", "generation")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning table`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished benchmark, or its results.json")
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="what is written")
    parser.add_argument("--track", choices=TRACKS, help="rows to show (default: both)")
    parser.add_argument(
        "--metrics", nargs="+", default=[], metavar="METRIC", help="columns, such as psnr (default: all measured)"
    )
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: the terminal)")


def run(options: argparse.Namespace) -> None:
    """Print the table, or write it into a file and say so."""
    from benchmarks.finished import read_results
    from benchmarks.tables import table
    from lua_lightning.commands.outputs import check_writable
    from lua_lightning.files import write_text

    if options.output:
        check_writable(options.output, "--output")
    tracks = (options.track,) if options.track else TRACKS
    text = table(read_results(options.run), options.format, tracks, options.metrics)
    if options.output:
        write_text(options.output, text)
        print(f"{options.output}: {options.format} of {options.run}", file=sys.stderr)
    else:
        print(text, end="")


COMMAND = Command(
    "table",
    "Write a benchmark's numbers with their intervals as LaTeX, CSV or Markdown.",
    "lua-lightning table runs/bench/512-tiny-sdxl-0a1b2c3d --format latex --metrics psnr ssim",
    add_arguments,
    run,
)
