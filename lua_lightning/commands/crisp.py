"""`lua-lightning crisp`: join a faithful and a crisp adapter into one folder with a sharpness."""

import argparse
from pathlib import Path

from lua_lightning.commands.choices import adapters
from lua_lightning.commands.command import Command, listing
from lua_lightning.errors import UserError

DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning crisp`."""
    parser.add_argument("faithful", help="adapter of sharpness 0: name, folder or hub id")
    parser.add_argument("crisp", help="adapter of sharpness 1, which was trained from it")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument(
        "--dtype", choices=DTYPES, default=DTYPES[0], help="number format of the files; loaded, all are float32"
    )


def run(options: argparse.Namespace) -> None:
    """Write the folder of both.

    Raises:
        UserError: The adapters are of different networks, or the folder is there already.
    """
    import torch

    from lua_lightning.models.joining import join

    if options.out.exists():
        raise UserError(f"--out {options.out} is there already: name a new folder")
    join(options.faithful, options.crisp, options.out, getattr(torch, options.dtype))
    print(f"{options.out}: sharpness 0 is {options.faithful}, sharpness 1 is {options.crisp}")


COMMAND = Command(
    "crisp",
    "Join a faithful and a crisp adapter into one with a sharpness.",
    "lua-lightning crisp runs/stage3/TIME/adapter runs/stage4/TIME/adapter --out my-adapter",
    add_arguments,
    run,
    lambda: listing("choices", adapters()),
)
