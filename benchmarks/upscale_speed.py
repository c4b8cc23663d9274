"""Enlarging pictures from file to file: the parts of one, a folder with and without overlap, and starting up.

Command: make bench-upscale   (ARGS="--sides 512 1024")
"""

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from baselines.clock import ResidentPeak
from baselines.measure import Spread, apart
from benchmarks.parts import PartTimes, made_on, seconds_of, times_as_fast
from benchmarks.phases import write_results
from lua_lightning.commands.command import Command, run_command
from lua_lightning.commands.upscale_files import FolderUpscaler, Job, upscale_file
from lua_lightning.environment import best_device, memory
from lua_lightning.errors import UserError
from lua_lightning.evaluation.tables import markdown_table, plain_table
from lua_lightning.images import write_image
from lua_lightning.pictures import read_picture
from lua_lightning.pipeline import load_pair, upscale_latents
from lua_lightning.sizes import target
from lua_lightning.upscaling import LatentWay, decode_as, encode_pixels, tile_in_latents

PARTS = ("reading", "encoding", "adapter", "decoding", "writing")
ADAPTER, TILE = "lua-tiny-d16", 1024
GOAL_MIB, GOAL_START = 4096, 2.0
PICTURES, FOLDER_SIDE = 6, 512  # of the folder


@dataclass(frozen=True)
class Row:
    """One picture, enlarged from file to file.

    Attributes:
        seconds: By part.
        peak_mib: Resident memory of the whole process.
        unavailable: Why there are no numbers.
    """

    side: int
    scale: int
    seconds: dict[str, float] | None = None
    peak_mib: float | None = None
    unavailable: str | None = None


def write_picture(path: Path, side: int, seed: int = 0) -> Path:
    """Write a square picture, smooth with some noise, which compresses as photographs do."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (max(2, side // 16), max(2, side // 16), 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = pixels + random.integers(-4, 5, pixels.shape, dtype=np.int16)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return path


def loaded() -> LatentWay:
    """Return the way of the embedded adapter."""
    return LatentWay(*load_pair(ADAPTER, None, None, best_device()), TILE)


def one_picture(source: Path, output: Path, scale: int) -> tuple[dict[str, float], float]:
    """Return the seconds of each part of enlarging a file, and the peak of resident memory in MiB."""
    way = loaded()
    codec, times = way.codec, PartTimes(best_device())
    times.on = True
    with ResidentPeak() as peak:
        with times("reading"):
            pixels = read_picture(source).pixels
        plan = way.plan(pixels.shape[1], pixels.shape[0], target(scale))
        side = tile_in_latents(codec, TILE)
        with times("encoding"):
            latents = encode_pixels(codec, pixels, side)
        with times("adapter"):
            latents = upscale_latents(way.adapter, codec, latents, scale, tile=side // scale)
        with times("decoding"):
            image = decode_as(codec, latents, plan, TILE)
        with times("writing"):
            write_image(output, image)
    return times.seconds, peak.mib


def measure_pictures(sides: Sequence[int], scale: int, folder: Path) -> list[Row]:
    """Return a row for each side; what does not fit into memory says so."""
    rows, way = [], loaded()
    for side in sides:
        needed, free = way.memory_needed(side, side, way.plan(side, side, target(scale))), memory()[0]
        if needed > free:
            rows.append(Row(side, scale, unavailable=f"may need {needed / 2**30:.1f} GiB of {free / 2**30:.1f}"))
            continue
        source = write_picture(folder / f"{side}.png", side)
        try:
            found = apart(f"{side} px", one_picture, source, folder / "large.png", scale)
        except UserError as error:
            rows.append(Row(side, scale, unavailable=str(error)))
            continue
        rows.append(Row(side, scale, *found))
        print(f"{side} px x{scale}: {sum(found[0].values()):.1f} s", file=sys.stderr)
    return rows


def measure_folder(folder: Path, repeats: int, count: int = PICTURES, side: int = FOLDER_SIDE) -> Spread:
    """Return how many times as fast a folder is enlarged as its files one after the other."""
    way, wanted = loaded(), target(2)
    jobs = [Job(write_picture(folder / f"in-{n}.png", side, n), folder / f"out-{n}.png") for n in range(count)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        together = partial(FolderUpscaler(way, wanted, overwrite=True).run, jobs)
        return times_as_fast(together, lambda: [upscale_file(way, job, wanted) for job in jobs], "cpu", repeats)


def measure_start(folder: Path, repeats: int) -> Spread:
    """Return the seconds of `lua-lightning upscale` of a picture of 64 px, from start to end."""
    source = write_picture(folder / "small.png", 64)
    command = [sys.executable, "-m", "lua_lightning", "upscale", str(source), "-o", str(folder / "start.png")]
    start = partial(subprocess.run, [*command, "--adapter", ADAPTER, "--overwrite"], check=True, capture_output=True)
    return Spread.of([seconds_of(start, "cpu") for _ in range(repeats + 1)][1:])


HEADS = (*PARTS, "total, s", "peak, MiB")


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a line for each picture: seconds of its parts, in all, and its peak of memory."""
    lines = []
    for row in rows:
        seconds, name = row["seconds"] or {}, f"{row['side']} px x{row['scale']}"
        cells = [f"{seconds[part]:.2f}" if part in seconds else "-" for part in PARTS]
        closing = [f"{sum(seconds.values()):.2f}", f"{row['peak_mib']:.0f}"] if seconds else ["-", "-"]
        lines.append([name, *cells, *closing])
    return lines


def remarks(results: Mapping[str, Any]) -> list[str]:
    """Return the sentences below the table."""
    folder, start = results["folder"], results["start"]
    said = [
        f"A folder of {PICTURES} pictures of {FOLDER_SIDE} px is enlarged {folder['median']:.2f} times as fast as its "
        f"files one after the other ({folder['low']:.2f} to {folder['high']:.2f}).",
        f"`lua-lightning upscale` of a picture of 64 px takes {start['median']:.2f} s from start to end "
        f"({start['low']:.2f} to {start['high']:.2f}; the goal is {GOAL_START:.0f}).",
    ]
    for row in results["rows"]:
        if row["unavailable"]:
            said.append(f"{row['side']} px x{row['scale']}: {row['unavailable']}.")
        elif row["peak_mib"] > GOAL_MIB:
            said.append(f"{row['side']} px x{row['scale']} needs {row['peak_mib']:.0f} MiB; the goal is {GOAL_MIB}.")
    return said


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table and the sentences as Markdown."""
    lines = [f"- {sentence}" for sentence in remarks(results)]
    return "\n".join([markdown_table(["picture", *HEADS], table_rows(results["rows"])), "", *lines])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.upscale_speed`."""
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 4096], help="of the pictures, in pixels")
    parser.add_argument("--scale", type=int, default=4, choices=(2, 4), help="times their width and height")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of the folder and of starting up")
    parser.add_argument("--out", type=Path, default=Path("runs/upscale-speed.json"), help="file of the results")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write and print the JSON."""
    for name, values, least in (("sides", options.sides, 16), ("repeats", [options.repeats], 1)):
        for value in values:
            if value < least:
                raise UserError(f"--{name} {value} is below {least}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measure_pictures(options.sides, options.scale, folder)
        together, start = measure_folder(folder, options.repeats), measure_start(folder, options.repeats)
    results = {**made_on(), "folder": asdict(together), "start": asdict(start), "rows": [asdict(row) for row in rows]}
    table = plain_table("from file to file, seconds", "picture", HEADS)
    for line in table_rows(results["rows"]):
        table.add_row(*line)
    console = Console(stderr=True)
    console.print(table)
    for sentence in remarks(results):
        console.print(sentence, highlight=False)
    write_results(results, options.out)


COMMAND = Command(
    "upscale_speed",
    "Measure the parts of enlarging a file, a folder, and starting up.",
    "python -m benchmarks.upscale_speed --sides 512",
    add_arguments,
    run,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.upscale_speed` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.upscale_speed", arguments)


if __name__ == "__main__":
    sys.exit(main())
