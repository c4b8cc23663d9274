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
    from dataclasses import replace

    import torch

    from lua_lightning.files import write_bytes, write_tensors
    from lua_lightning.models.adapter import LatentUpscaler
    from lua_lightning.models.pretrained import find_pretrained
    from lua_lightning.models.sharpness import CRISP_NAME, between

    if options.out.exists():
        raise UserError(f"--out {options.out} is there already: name a new folder")
    faithful, crisp = (LatentUpscaler.from_pretrained(source) for source in (options.faithful, options.crisp))
    weights = crisp.state_dict()
    try:
        between(faithful.state_dict(), weights, 0.5)
        same = replace(crisp.config, latent_range=faithful.config.latent_range) == faithful.config
    except ValueError:
        same = False
    if not same:
        raise UserError(f"{options.crisp} is of another network than {options.faithful}: train it from that one")
    dtype = getattr(torch, options.dtype)
    faithful.to(dtype).save_pretrained(options.out)
    write_tensors(options.out / CRISP_NAME, {name: tensor.to(dtype) for name, tensor in weights.items()})
    for path in sorted(find_pretrained(options.crisp).iterdir()):  # its card tells of the later training too
        if path.is_file() and not (options.out / path.name).exists():
            write_bytes(options.out / path.name, path.read_bytes())
    print(f"{options.out}: sharpness 0 is {options.faithful}, sharpness 1 is {options.crisp}")


COMMAND = Command(
    "crisp",
    "Join a faithful and a crisp adapter into one with a sharpness.",
    "lua-lightning crisp runs/stage3/TIME/adapter runs/stage4/TIME/adapter --out my-adapter",
    add_arguments,
    run,
    lambda: listing("choices", adapters()),
)
