"""`lua-lightning upscale`: enlarge a photograph, or every photograph of a folder."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lua_lightning.commands.choices import adapters, codecs
from lua_lightning.commands.command import Command, listing
from lua_lightning.errors import UserError

if TYPE_CHECKING:
    from lua_lightning.models.adapter import LatentUpscaler
    from lua_lightning.models.codec import LatentCodec

SMALLEST_TILE = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning upscale`."""
    parser.add_argument("input", type=Path, help="image file or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="image file, or folder when the input is one")
    parser.add_argument("--scale", type=int, default=2, help="2 or 4, whatever the adapter has a head for")
    parser.add_argument("--adapter", default="lua-tiny-d16", help="name, folder, file or hub id")
    parser.add_argument("--codec", help="autoencoder of the latents (default: the one the adapter was trained on)")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile of the result, in pixels")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")


def jobs(source: Path, output: Path) -> list[tuple[Path, Path]]:
    """Return input and output files; a folder is walked, and its results are PNG files of the same relative names.

    Raises:
        UserError: The input is not there, or input and output are of different kinds.
    """
    if source.is_file():
        if output.is_dir():
            raise UserError(f"{output} is a folder, but the input is one file: give a file name, such as out.png")
        return [(source, output)]
    if not source.is_dir():
        raise UserError(f"{source} does not exist: give an image file or a folder of images")
    if output.is_file():
        raise UserError(f"{output} is a file, but the input is a folder: give the output a folder")
    files = sorted(path for path in source.rglob("*") if path.is_file() and output not in path.parents)
    if not files:
        raise UserError(f"{source} holds no files")
    return [(path, output / path.relative_to(source).with_suffix(".png")) for path in files]


def upscale_file(
    adapter: "LatentUpscaler", codec: "LatentCodec", source: Path, output: Path, scale: int, tile: int
) -> str:
    """Enlarge one file and return a line that says what was made and how long it took."""
    from lua_lightning.images import read_image, to_tensor, write_image
    from lua_lightning.pipeline import upscale_tensor

    image = to_tensor(read_image(source)).to(codec.shift.device)
    started = time.perf_counter()
    result = upscale_tensor(adapter, codec, image, scale, tile)
    seconds = time.perf_counter() - started
    output.parent.mkdir(parents=True, exist_ok=True)
    write_image(output, result.cpu())
    height, width = image.shape[-2:]
    return f"{output}: {width}x{height} -> {width * scale}x{height * scale} in {seconds:.1f} s"


def run(options: argparse.Namespace) -> int:
    """Enlarge every file; the status is 1 when a file of a folder could not be used."""
    work = jobs(options.input, options.output)
    if options.tile < SMALLEST_TILE:
        raise UserError(f"--tile {options.tile} is too small: give at least {SMALLEST_TILE} pixels")
    from rich.console import Console
    from rich.progress import track

    from lua_lightning.images import UnusableImage
    from lua_lightning.pipeline import load_pair

    adapter, codec = load_pair(options.adapter, options.codec, options.scale, options.device)
    skipped = []
    console = Console(stderr=True)
    for source, output in track(work, "upscaling", console=console, disable=len(work) == 1):
        try:
            print(upscale_file(adapter, codec, source, output, options.scale, options.tile))
        except UnusableImage as error:
            if len(work) == 1:
                raise
            skipped.append(str(error))
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) == len(work):
        raise UserError(f"none of the {len(work)} files in {options.input} is a usable image")
    return 1 if skipped else 0


COMMAND = Command(
    "upscale",
    "Enlarge a photograph, or every photograph of a folder.",
    "lua-lightning upscale photo.jpg --output large.png --scale 2",
    add_arguments,
    run,
    lambda: listing("choices", {**adapters(), **codecs()}),
)
