"""`lua-lightning upscale`: enlarge a photograph, or every photograph of a folder."""

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track

from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.images import UnusableImage, read_image, to_tensor, write_image
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pipeline import check_pair, upscale_image

SMALLEST_TILE = 256


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


def upscale_file(adapter: LatentUpscaler, codec: LatentCodec, source: Path, output: Path, scale: int, tile: int) -> str:
    """Enlarge one file and return a line that says what was made and how long it took."""
    image = to_tensor(read_image(source)).to(codec.shift.device)
    started = time.perf_counter()
    result = upscale_image(adapter, codec, image, scale, tile)
    seconds = time.perf_counter() - started
    output.parent.mkdir(parents=True, exist_ok=True)
    write_image(output, result.cpu())
    height, width = image.shape[-2:]
    return f"{output}: {width}x{height} -> {width * scale}x{height * scale} in {seconds:.1f} s"


def main(arguments: argparse.Namespace) -> int:
    """Run `lua-lightning upscale`; return 1 when a file of a folder could not be used, else 0."""
    work = jobs(arguments.input, arguments.output)
    if arguments.tile < SMALLEST_TILE:
        raise UserError(f"--tile {arguments.tile} is too small: give at least {SMALLEST_TILE} pixels")
    device = arguments.device or best_device()
    adapter = LatentUpscaler.from_pretrained(arguments.adapter)
    codec_name = arguments.codec or adapter.config.codec
    if codec_name is None:
        raise UserError(f"{arguments.adapter} does not say which codec it was trained on: give --codec")
    codec = LatentCodec.from_pretrained(codec_name)
    check_pair(adapter, codec)
    if arguments.scale not in adapter.config.scales:
        raise UserError(f"--scale {arguments.scale}: {arguments.adapter} has heads for {list(adapter.config.scales)}")
    adapter.to(device)
    codec.to(device)
    skipped = []
    console = Console(stderr=True)
    for source, output in track(work, "upscaling", console=console, disable=len(work) == 1):
        try:
            print(upscale_file(adapter, codec, source, output, arguments.scale, arguments.tile))
        except UnusableImage as error:
            if len(work) == 1:
                raise
            skipped.append(str(error))
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) == len(work):
        raise UserError(f"none of the {len(work)} files in {arguments.input} is a usable image")
    return 1 if skipped else 0
