"""Time and peak memory of decoding from 512 to 8192 px: the whole at once against exact tiles.

Command: make bench-decode   (ARGS="--codecs tiny-d16 --sizes 512 2048")
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from baselines.clock import Clock, resident_mib
from baselines.measure import Spread, apart
from benchmarks.parts import made_on
from benchmarks.phases import write_results
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.environment import best_device, memory
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.tables import markdown_table, plain_table
from lua_lightning.models.codec import CACHED, LatentCodec
from lua_lightning.models.tiny_autoencoder import TinyAutoencoder, TinyAutoencoderConfig

SIZES = (512, 1024, 2048, 4096, 8192)
FIRST = SIZES[0]
OFTEN = 2048  # px, up to which a decode is repeated
GOAL = 0.15  # more time per pixel than at 512 px
SPARE = 0.7  # of the free memory that a decode may need
WAYS = ("whole", "tiles")


def random_tiny() -> LatentCodec:
    """Return a tiny autoencoder of the published size (TAESD) with random weights."""
    torch.manual_seed(0)
    return LatentCodec.of(TinyAutoencoder(TinyAutoencoderConfig()).eval(), "taesd-random")


CODECS = {"tiny-d16": lambda: LatentCodec.from_pretrained("tiny-d16"), "taesd-random": random_tiny}


@dataclass(frozen=True)
class Row:
    """One way to decode a picture.

    Attributes:
        seconds: Of a decode.
        peak_mib: Beside what was held before; the image of float32 is part of it.
        per_pixel: Seconds per pixel over those of the same way at the first size.
        unavailable: Why there are no numbers.
    """

    codec: str
    px: int
    way: str
    seconds: Spread | None = None
    peak_mib: float | None = None
    per_pixel: float | None = None
    unavailable: str | None = None


@torch.inference_mode()
def decode(codec_name: str, px: int, way: str, repeats: int, device: str) -> tuple[Spread, float]:
    """Return the seconds of a decode and its peak of memory in MiB, in a process that does nothing else.

    Args:
        codec_name: One of `CODECS`.
        px: Side of the picture.
        way: `whole`, or `tiles` of the size that the codec chooses itself.
        repeats: Counted runs, after one of a small picture.
        device: Where it decodes.
    """
    codec = CODECS[codec_name]().to(device)
    side = px // codec.downscale
    codec.decode(torch.randn(1, codec.channels, CACHED // 2, CACHED // 2, device=device))
    latents = torch.randn(1, codec.channels, side, side, device=device)
    cuda = torch.device(device).type == "cuda"
    held = torch.cuda.memory_allocated() / 2**20 if cuda else resident_mib() or 0.0
    seconds, peak = [], 0.0
    for _ in range(repeats):
        clock = Clock(device)
        with clock.phase("decode"):
            codec.decode(latents, tile=side if way == "whole" else CACHED)
        seconds.append(clock.seconds["decode"])
        peak = max(peak, clock.peak_mib["decode"] - held)
    return Spread.of(seconds), peak


def free_mib(device: str) -> float:
    """Return the memory in MiB that is free for a decode."""
    free = torch.cuda.mem_get_info()[0] if torch.device(device).type == "cuda" else memory()[0]
    return SPARE * free / 2**20


def measure_codec(codec: str, sizes: Sequence[int], repeats: int, device: str) -> list[Row]:
    """Return the rows of a codec; what would need more memory than is free is left out and says so."""
    rows = []
    for way in WAYS:
        known: Row | None = None
        first = 0.0
        for px in sizes:
            needed = known.peak_mib * (px / known.px) ** 2 if way == "whole" and known and known.peak_mib else 0.0
            if needed > free_mib(device):
                rows.append(Row(codec, px, way, unavailable=f"would need about {needed / 1024:.0f} GiB"))
                continue
            count = repeats if px <= OFTEN else 1
            try:
                seconds, peak = apart(f"{codec} at {px} px, {way}", decode, codec, px, way, count, device)
            except UserError as error:
                rows.append(Row(codec, px, way, unavailable=str(error)))
                continue
            each = seconds.median / px**2
            first = first or each
            known = Row(codec, px, way, seconds, peak, each / first)
            rows.append(known)
            print(f"{codec}, {px} px, {way}: {seconds.median:.2f} s", file=sys.stderr)
    return rows


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return a line for each codec and size: its seconds, peaks and times per pixel, whole and in tiles."""
    found = {(row["codec"], row["px"], row["way"]): row for row in rows}
    lines = []
    for codec, px in dict.fromkeys((row["codec"], row["px"]) for row in rows):
        both = [found.get((codec, px, way), {}) for way in WAYS]
        cells = [f"{row['seconds']['median']:.2f}" if row.get("seconds") else "-" for row in both]
        cells += [f"{row['per_pixel']:.2f}" if row.get("per_pixel") else "-" for row in both]
        cells += [f"{row['peak_mib']:.0f}" if row.get("peak_mib") is not None else "-" for row in both]
        lines.append([f"{codec}, {px} px", *cells])
    return lines


HEADS = ("whole, s", "tiles, s", "whole, per px", "tiles, per px", "whole, MiB", "tiles, MiB")


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why there are no numbers, and which tiles are beyond the goal."""
    said = [f"{r['codec']}, {r['px']} px, {r['way']}: {r['unavailable']}" for r in rows if r.get("unavailable")]
    for row in rows:
        if row["way"] == "tiles" and (row.get("per_pixel") or 0) > 1 + GOAL:
            said.append(
                f"{row['codec']}, {row['px']} px: a pixel takes {row['per_pixel']:.2f} times as long as at {FIRST} px, "
                f"the goal is {1 + GOAL}"
            )
    return said


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table as Markdown, with what there is to say about it."""
    rows = results["rows"]
    lines = [markdown_table(["decoder, size", *HEADS], table_rows(rows))]
    if said := remarks(rows):
        lines += ["", *(f"- {sentence}" for sentence in said)]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.decode_speed`."""
    parser.add_argument("--codecs", nargs="+", default=[*CODECS], help="listed below")
    parser.add_argument("--sizes", type=int, nargs="+", default=[*SIZES], help="sides in pixels, from small to large")
    parser.add_argument("--repeats", type=int, default=3, help=f"counted runs up to {OFTEN} px; one beyond")
    parser.add_argument("--out", type=Path, default=Path("runs/decode-speed.json"), help="file of the results")


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, and write and print the JSON."""
    for name in options.codecs:
        if name not in CODECS:
            raise unknown_name("decoder", name, CODECS)
    for px in options.sizes:
        if px < 64 or px % 16:
            raise UserError(f"--sizes {px} must be a multiple of 16, 64 or more")
    if options.repeats < 1:
        raise UserError(f"--repeats {options.repeats} is below 1")
    device = best_device()
    rows = [row for name in options.codecs for row in measure_codec(name, options.sizes, options.repeats, device)]
    plain = [asdict(row) for row in rows]
    console = Console(stderr=True)
    table = plain_table("decoding, median seconds", "decoder, size", HEADS)
    for line in table_rows(plain):
        table.add_row(*line)
    console.print(table)
    for sentence in remarks(plain):
        console.print(sentence, highlight=False)
    write_results({**made_on(), "rows": plain}, options.out)


COMMAND = Command(
    "decode_speed",
    "Measure time and peak memory of decoding, whole and in exact tiles.",
    "python -m benchmarks.decode_speed --codecs tiny-d16 --sizes 512 1024",
    add_arguments,
    run,
    lambda: listing("choices", {"decoders": [*CODECS]}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.decode_speed` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.decode_speed", arguments)


if __name__ == "__main__":
    sys.exit(main())
