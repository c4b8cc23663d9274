"""`lua-lightning upscale`: enlarge a photograph, every photograph of a folder, or saved latents."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lua_lightning.commands.choices import adapters, codecs
from lua_lightning.commands.command import Command, listing
from lua_lightning.commands.outputs import (
    check_writable,
    distinct_names,
    existing,
    refuse_existing,
)
from lua_lightning.commands.upscale_files import FolderUpscaler, Job, tell, upscale_file
from lua_lightning.commands.upscale_latents import SPACES, check_latents, upscale_latents_file
from lua_lightning.errors import UserError
from lua_lightning.pixel_upscalers import pixel_upscaler_names
from lua_lightning.signals import resumable
from lua_lightning.sizes import FITS, Target, fitted, target
from lua_lightning.zoo import DEFAULT_ADAPTER

if TYPE_CHECKING:
    from lua_lightning.upscaling import Way

SMALLEST_TILE, LARGEST_TILE = 256, 16_384
RUNTIMES = ("torch", "onnx")
ADAPTER = "lua"  # the method that is no pixel upscaler
HINT = (
    "An adapter is made for latents. A photograph loses detail in the autoencoder before it is enlarged: "
    "`--method bicubic` or `--method dat-light` enlarge its pixels instead."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning upscale`."""
    parser.add_argument("input", type=Path, nargs="?", help="image file or folder; none beside --latents")
    parser.add_argument("-o", "--output", type=Path, required=True, help="image file, or folder when the input is one")
    parser.add_argument(
        "--latents", type=Path, metavar="FILE", help="saved latents to enlarge (default: the input is an image)"
    )
    parser.add_argument("--space", choices=SPACES, default="normalised", help="space of those latents")
    parser.add_argument("--scale", type=float, help="times the width and height, any number up to 4 (default: 2)")
    parser.add_argument(
        "--size", type=side_by_side, metavar="WxH", help="width and height, as 1920x1080 (default: --scale)"
    )
    parser.add_argument("--megapixels", type=float, metavar="N", help="millions of pixels (default: --scale)")
    parser.add_argument("--fit", choices=FITS, default="inside", help="whole picture inside --size, or cropped")
    parser.add_argument(
        "--method", default=ADAPTER, help=f"{ADAPTER}, or in pixels: {', '.join(pixel_upscaler_names())}"
    )
    parser.add_argument("--adapter", default=DEFAULT_ADAPTER, help="name, folder, file or hub id")
    parser.add_argument("--sharpness", type=float, default=0.0, help="0, faithful, to 1, crisp (default: 0)")
    parser.add_argument("--codec", help="autoencoder of the latents (default: the one the adapter was trained on)")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile of the enlargement, in pixels")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="torch",
        help="what computes the adapter; for `onnx`, --adapter is a folder that `export ... onnx` wrote",
    )  # fmt: skip
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace output files that are there already")
    there.add_argument("--skip-existing", action="store_true", help="leave out inputs whose output is there already")


def side_by_side(text: str) -> tuple[int, int]:
    """Return the width and height of a text such as `1920x1080`."""
    width, sign, height = text.lower().partition("x")
    if not (sign and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give width and height in pixels, as 1920x1080")
    return int(width), int(height)


def wanted_by(options: argparse.Namespace) -> Target:
    """Return the size that the options ask for.

    Raises:
        UserError: They contradict each other, or one is out of its range.
    """
    return target(options.scale, options.size, options.megapixels, options.fit, prefix="--")


def plan(source: Path, output: Path, ending: str) -> list[Job]:
    """Return what there is to do; a folder is walked, and `deep/a.jpg` becomes `deep/a_x2.png` below the output.

    `ending` is what names end in, such as `x2`.

    Files below the output are no inputs, however the paths are written.

    Raises:
        UserError: The input is not there, or input and output are of different kinds, or the same.
    """
    if source.is_dir():
        return _plan_folder(source, output, ending)
    if not os.path.lexists(source):
        raise UserError(f"{source} does not exist: give an image file or a folder of images")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder, but the input is one file: give a file name, such as out.png")
    if output.exists() and output.samefile(source):
        raise UserError(f"--output {output} is the input itself, which stays as it is: give another file name")
    return [Job(source, output)]


def _plan_folder(source: Path, output: Path, ending: str) -> list[Job]:
    inside, outside = source.resolve(), output.resolve()
    if os.path.lexists(output) and not output.is_dir():
        raise UserError(f"--output {output} is a file, but the input is a folder: give the output a folder")
    if inside == outside:
        raise UserError(f"--output {output} is the folder of the inputs: give the results a folder of their own")
    files = sorted(path for path in _walk(source) if outside not in path.resolve().parents)
    if not files:
        raise UserError(f"{source} holds no files: give a folder of images")
    names = distinct_names([path.relative_to(source) for path in files], f"_{ending}.png")
    originals = {path.resolve() for path in files}
    work = [Job(path, output / name) for path, name in zip(files, names, strict=True)]
    for job in work:
        if job.output.resolve() in originals:
            raise UserError(f"{job.output} would replace an input: give the results a folder of their own")
    return work


def _walk(folder: Path) -> list[Path]:
    """Return everything in a folder and its subfolders that is no folder, and the subfolders that cannot be read."""
    closed: list[Path] = []
    found = [
        Path(place) / name
        for place, _, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename)))
        for name in names
    ]
    return found + closed


def check(options: argparse.Namespace, work: list[Job], wanted: Target) -> list[Job]:
    """Return the work that is left once what is there already is left out; nothing is loaded yet.

    Raises:
        UserError: An option is out of its range, or an output cannot be written or is there already.
    """
    if not SMALLEST_TILE <= options.tile <= LARGEST_TILE:
        small = "small" if options.tile < SMALLEST_TILE else "large"
        raise UserError(f"--tile {options.tile} is too {small}: give {SMALLEST_TILE} to {LARGEST_TILE} pixels")
    if options.skip_existing:
        done = set(existing([job.output for job in work]))
        work = [job for job in work if job.output not in done]
    elif not options.overwrite:
        mend = "give another --output, --overwrite to replace, or --skip-existing to make only what is missing"
        refuse_existing([job.output for job in work], mend)
    check_writable(options.output, "--output")
    if not options.input.is_dir():
        from lua_lightning.pictures import picture_size, writer_of

        writer = writer_of(options.output)
        _, size = fitted(*picture_size(options.input), wanted)
        writer.check_size(options.output, *size)
    return work


def run(options: argparse.Namespace) -> int:
    """Enlarge every file; the status is 1 when a file of a folder could not be used."""
    wanted = wanted_by(options)
    if options.latents:
        check_latents(options)
        tell(upscale_latents_file(options, wanted))
        return 0
    if options.input is None:
        raise UserError("there is nothing to enlarge: give an image file, a folder of images, or --latents FILE")
    planned = plan(options.input, options.output, wanted.ending)
    work = check(options, planned, wanted)
    if not work:
        print(f"nothing to do: all {len(planned)} results are there already", file=sys.stderr)
        return 0
    way = load_way(options)
    if not options.input.is_dir():
        tell(upscale_file(way, work[0], wanted))
        hint(options)
        return 0
    with resumable("what is made stays; the same command with --skip-existing goes on"):
        skipped = FolderUpscaler(way, wanted, options.overwrite).run(work)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) == len(work):
        raise UserError(f"none of the {len(work)} files in {options.input} could be enlarged")
    hint(options)
    return 1 if skipped else 0


def hint(options: argparse.Namespace) -> None:
    """Say what an adapter is for where photographs were enlarged by one."""
    if options.method == ADAPTER:
        print(HINT, file=sys.stderr)


def load_way(options: argparse.Namespace) -> "Way":
    """Return what `--method` names, loaded.

    Raises:
        UserError: It is unknown, or something that it needs is missing or does not fit.
    """
    from lua_lightning.environment import checked_device
    from lua_lightning.upscaling import LatentWay, PixelWay, tile_in_latents

    if options.method != ADAPTER:
        from lua_lightning.environment import best_device
        from lua_lightning.pixel_upscalers import find_pixel_upscaler

        return PixelWay(find_pixel_upscaler(options.method), checked_device(options.device) or best_device())
    from lua_lightning.pipeline import load_pair

    source = options.adapter
    if options.runtime == "onnx":
        from lua_lightning.models.onnx_upscaler import OnnxUpscaler

        source = OnnxUpscaler(source)
    adapter, codec = load_pair(source, options.codec, None, checked_device(options.device), options.sharpness)
    tile_in_latents(codec, options.tile, "--tile")
    return LatentWay(adapter, codec, options.tile, tell_loss=True)


COMMAND = Command(
    "upscale",
    "Enlarge a photograph, every photograph of a folder, or saved latents.",
    "lua-lightning upscale photo.jpg --output large.png --scale 2",
    add_arguments,
    run,
    lambda: listing("choices", {**adapters(), **codecs()}),
)
