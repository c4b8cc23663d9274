"""`lua-lightning upscale`: enlarge a photograph, or every photograph of a folder."""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lua_lightning.commands.choices import adapters, codecs
from lua_lightning.commands.command import Command, listing
from lua_lightning.commands.guard import settle_output, system_sentence
from lua_lightning.commands.outputs import (
    check_writable,
    distinct_names,
    existing,
    free_bytes,
    refuse_existing,
)
from lua_lightning.errors import UserError, first_line
from lua_lightning.signals import resumable

if TYPE_CHECKING:
    from lua_lightning.models.adapter import LatentUpscaler
    from lua_lightning.models.codec import LatentCodec

SMALLEST_TILE, LARGEST_TILE = 256, 16_384
MOST_BYTES = 4  # of a stored pixel


@dataclass(frozen=True)
class Job:
    """One picture to enlarge."""

    source: Path
    """Where it is."""
    output: Path
    """Where its enlargement belongs."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lua-lightning upscale`."""
    parser.add_argument("input", type=Path, help="image file or folder")
    parser.add_argument("-o", "--output", type=Path, required=True, help="image file, or folder when the input is one")
    parser.add_argument("--scale", type=int, default=2, help="2 or 4, whatever the adapter has a head for")
    parser.add_argument("--adapter", default="lua-tiny-d16", help="name, folder, file or hub id")
    parser.add_argument("--codec", help="autoencoder of the latents (default: the one the adapter was trained on)")
    parser.add_argument("--tile", type=int, default=1024, help="side of a tile of the result, in pixels")
    parser.add_argument("--device", help="cpu, cuda or mps (default: the best there is)")
    there = parser.add_mutually_exclusive_group()
    there.add_argument("--overwrite", action="store_true", help="replace output files that are there already")
    there.add_argument("--skip-existing", action="store_true", help="leave out inputs whose output is there already")


def plan(source: Path, output: Path, scale: int) -> list[Job]:
    """Return what there is to do; a folder is walked, and `deep/a.jpg` becomes `deep/a_x2.png` below the output.

    Files below the output are no inputs, however the paths are written.

    Raises:
        UserError: The input is not there, or input and output are of different kinds, or the same.
    """
    if source.is_dir():
        return _plan_folder(source, output, scale)
    if not os.path.lexists(source):
        raise UserError(f"{source} does not exist: give an image file or a folder of images")
    if output.is_dir():
        raise UserError(f"--output {output} is a folder, but the input is one file: give a file name, such as out.png")
    if output.exists() and output.samefile(source):
        raise UserError(f"--output {output} is the input itself, which stays as it is: give another file name")
    return [Job(source, output)]


def _plan_folder(source: Path, output: Path, scale: int) -> list[Job]:
    inside, outside = source.resolve(), output.resolve()
    if os.path.lexists(output) and not output.is_dir():
        raise UserError(f"--output {output} is a file, but the input is a folder: give the output a folder")
    if inside == outside:
        raise UserError(f"--output {output} is the folder of the inputs: give the results a folder of their own")
    files = sorted(path for path in _walk(source) if outside not in path.resolve().parents)
    if not files:
        raise UserError(f"{source} holds no files: give a folder of images")
    names = distinct_names([path.relative_to(source) for path in files], f"_x{scale}.png")
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


def check(options: argparse.Namespace, work: list[Job]) -> list[Job]:
    """Return the work that is left once what is there already is left out; nothing is loaded yet.

    Raises:
        UserError: An option is out of its range, or an output cannot be written or is there already.
    """
    if not SMALLEST_TILE <= options.tile <= LARGEST_TILE:
        small = "small" if options.tile < SMALLEST_TILE else "large"
        raise UserError(f"--tile {options.tile} is too {small}: give {SMALLEST_TILE} to {LARGEST_TILE} pixels")
    if options.scale < 1:
        raise UserError(f"--scale {options.scale} must be 2 or 4")
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
        width, height = picture_size(options.input)
        writer.check_size(options.output, width * options.scale, height * options.scale)
    return work


def upscale_file(
    adapter: "LatentUpscaler", codec: "LatentCodec", source: Path, output: Path, scale: int, tile: int
) -> str:
    """Enlarge one file and return a line that says what was made and how long it took.

    Raises:
        UserError: The file cannot be used, or memory or disk have no room for its enlargement.
    """
    from lua_lightning.environment import memory
    from lua_lightning.images import write_image
    from lua_lightning.pictures import UnusableImage, picture_size, read_picture, writer_of
    from lua_lightning.upscaling import enlarge, memory_needed

    width, height = picture_size(source)
    result = f"{width * scale}x{height * scale}"
    for kind, needed, free in (
        ("memory", memory_needed(width, height, scale, tile), memory()[0]),
        ("disk space", width * height * scale**2 * MOST_BYTES, free_bytes(output)),
    ):
        if needed > free:
            sizes = f"about {needed / 2**30:.1f} GiB of {kind}, and {free / 2**30:.1f} GiB are free"
            raise UnusableImage(source, f"is too large: {result} pixels may need {sizes}")
    picture = read_picture(source)
    started = time.perf_counter()
    remark = ""
    if picture.alpha is not None and not writer_of(output).holds_alpha:
        picture, remark = type(picture)(picture.on_white()), "; its transparency was put on white, for JPEG holds none"
    image = enlarge(adapter, codec, picture, scale, tile)
    seconds = time.perf_counter() - started
    write_image(output, image)
    return f"{output}: {width}x{height} -> {result} in {seconds:.1f} s{remark}"


def run(options: argparse.Namespace) -> int:
    """Enlarge every file; the status is 1 when a file of a folder could not be used."""
    planned = plan(options.input, options.output, options.scale)
    work = check(options, planned)
    if not work:
        print(f"nothing to do: all {len(planned)} results are there already", file=sys.stderr)
        return 0
    from lua_lightning.environment import checked_device
    from lua_lightning.pipeline import load_pair
    from lua_lightning.upscaling import tile_in_latents

    adapter, codec = load_pair(options.adapter, options.codec, options.scale, checked_device(options.device))
    tile_in_latents(codec, options.tile, "--tile")
    if not options.input.is_dir():
        tell(upscale_file(adapter, codec, options.input, options.output, options.scale, options.tile))
        return 0
    with resumable("what is made stays; the same command with --skip-existing goes on"):
        skipped = _upscale_all(adapter, codec, work, options)
    for reason in skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    if len(skipped) == len(work):
        raise UserError(f"none of the {len(work)} files in {options.input} could be enlarged")
    return 1 if skipped else 0


def _upscale_all(
    adapter: "LatentUpscaler", codec: "LatentCodec", work: list[Job], options: argparse.Namespace
) -> list[str]:
    """Enlarge file by file and return what could not be, each with its reason; one file never stops the others."""
    from rich.console import Console
    from rich.progress import track

    skipped = []
    for job in track(work, "upscaling", console=Console(stderr=True), disable=len(work) == 1):
        try:
            if not options.overwrite:
                refuse_existing([job.output], "it was made meanwhile, and stays")
            tell(upscale_file(adapter, codec, job.source, job.output, options.scale, options.tile))
        except UserError as error:
            skipped.append(str(error))
        except Exception as error:  # whatever one picture does, the others' turn comes
            skipped.append(f"{job.source}: {system_sentence(error) or first_line(error)}")
    return skipped


def tell(line: str) -> None:
    """Print a line now; where nobody reads it any more, the work goes on in silence."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        settle_output()


COMMAND = Command(
    "upscale",
    "Enlarge a photograph, or every photograph of a folder.",
    "lua-lightning upscale photo.jpg --output large.png --scale 2",
    add_arguments,
    run,
    lambda: listing("choices", {**adapters(), **codecs()}),
)
