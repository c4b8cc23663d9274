"""What every shipped adapter gains on photographs that nothing was trained on, over bicubic enlargement.

Command: make zoo-check
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from lua_lightning.commands.choices import SPLITS, adapters
from lua_lightning.commands.command import Command, listing, run_command
from lua_lightning.config import RunConfig
from lua_lightning.data_config import CacheConfig, DataConfig
from lua_lightning.errors import UserError
from lua_lightning.evaluation.held_out import measure
from lua_lightning.evaluation.intervals import CropScores, Estimate, intervals
from lua_lightning.evaluation.registry import METRICS
from lua_lightning.evaluation.rows import CEILING, PHOTO_BICUBIC, PIXEL_BICUBIC, ROWS
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_json
from lua_lightning.models.pretrained import find_pretrained, read_config
from lua_lightning.pairs.photos import PhotoSet, Split
from lua_lightning.zoo import zoo_adapters

RIVAL = f"{ROWS[PIXEL_BICUBIC].suffix}"
PSNR, (PERCEPTUAL,) = METRICS["psnr"], METRICS["perceptual"].keys
COLUMNS = ("scale", "bicubic", PSNR.label, "gain", "95 %", "better", "perceptual")


@dataclass(frozen=True)
class Gain:
    """What an adapter gains at one scale over bicubic enlargement of the decoded low-resolution latents."""

    adapter: str
    """Its name."""
    scale: int
    """2 or 4."""
    photos: int
    """Photographs that it was measured on."""
    psnr: float
    """Its mean PSNR, in dB."""
    bicubic: float
    """That of bicubic enlargement, in dB."""
    photo_bicubic: float
    """That of bicubic enlargement of the low-resolution photograph, which no autoencoder has seen, in dB."""
    round_trip: float
    """That of the autoencoder's round trip of the high-resolution photograph, in dB."""
    gain: Estimate
    """The difference with its interval, in dB."""
    better: float
    """Share of the photographs on which it has the higher PSNR."""
    perceptual: float | None
    """Its mean perceptual distance over that of bicubic enlargement; below 1 is better; None where not measured."""

    def cells(self) -> list[str]:
        """Return what a table shows of it: `COLUMNS`."""
        interval = f"{self.gain.low:.2f}..{self.gain.high:.2f}" if self.gain.bounded else "-"
        ratio = "-" if self.perceptual is None else f"{100 * (self.perceptual - 1):+.0f} %"
        levels = map(PSNR.text, (self.bicubic, self.psnr))
        return [f"x{self.scale}", *levels, f"{self.gain.value:+.2f}", interval, f"{100 * self.better:.0f} %", ratio]

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> "Gain":
        """Return the gain that `entry` wrote."""
        return cls(**{**entry, "gain": Estimate.of_entry(entry["gain"])})

    def entry(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"gain": self.gain.entry()}

    @property
    def holds(self) -> bool:
        """Whether it is better than bicubic enlargement in the mean."""
        return self.gain.value > 0


def gains(adapter: str, crops: Sequence[CropScores]) -> Iterator[Gain]:
    """Yield what the scores of held-out crops say of an adapter at each of its scales."""
    for scale in sorted({name.partition("/")[0] for name in crops[0].values}):
        psnr = {
            end: np.array([crop.values[f"{scale}/{PSNR.keys[0]}{end}"] for crop in crops])
            for end in ("", *(f"{ROWS[row].suffix}" for row in (PIXEL_BICUBIC, PHOTO_BICUBIC, CEILING)))
        }
        ours, bicubic, photo_bicubic, round_trip = (float(values.mean()) for values in psnr.values())
        differences = [
            CropScores(crop.sample, crop.photo, {f"{scale}/gain": float(gain)})
            for crop, gain in zip(crops, psnr[""] - psnr[RIVAL], strict=True)
        ]
        by_photo: dict[int, list[float]] = {}
        for crop in differences:
            by_photo.setdefault(crop.photo, []).append(crop.values[f"{scale}/gain"])
        yield Gain(
            adapter,
            int(scale.removeprefix("x")),
            len(by_photo),
            ours,
            bicubic,
            photo_bicubic,
            round_trip,
            intervals(differences)[f"{scale}/gain"],
            float(np.mean([np.mean(values) > 0 for values in by_photo.values()])),
            _perceptual_ratio(scale, [crop.values for crop in crops]),
        )


def _perceptual_ratio(scale: str, scores: Sequence[Mapping[str, float]]) -> float | None:
    key = f"{scale}/{PERCEPTUAL}"
    if key not in scores[0]:
        return None
    distance, bicubic = (float(np.mean([values[key + end] for values in scores])) for end in ("", RIVAL))
    return distance / bicubic


def print_gains(found: Sequence[Gain], left_out: Mapping[str, str], title: str) -> None:
    """Print the table of gains, and why an adapter is not in it, on stderr."""
    table = plain_table(title, "adapter", COLUMNS)
    for one in found:
        table.add_row(one.adapter, *one.cells())
    console = Console(stderr=True)
    console.print(table)
    for name, reason in left_out.items():
        console.print(f"{name} was not measured: {reason}")


def shipped() -> list[str]:
    """Return the names of the adapters that ship for use; the other networks of the zoo are rivals to compare with."""
    return [name for name in zoo_adapters() if name.startswith("lua-")]


def config_of(adapter: str, photos: str) -> RunConfig:
    """Return a run that holds an adapter's codec and the photographs to measure on.

    Raises:
        UserError: There is no such adapter, or it does not say which codec it was trained on.
    """
    codec = read_config(find_pretrained(adapter)).get("codec")
    if codec is None:
        raise UserError(f"{adapter} does not say which codec it was trained on")
    return RunConfig(data=DataConfig(photos=photos), cache=CacheConfig(codec=codec, crops_per_photo=1))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.zoo_check`."""
    parser.add_argument("names", nargs="*", help="adapters: names, folders or hub ids (default: all that ship)")
    parser.add_argument("--photos", default="data/photos", help="folder of the photo set")
    parser.add_argument("--split", choices=SPLITS, default="test", help="photographs to measure on")
    parser.add_argument("--out", metavar="FILE", help="write the JSON line to a file too")


def run(options: argparse.Namespace) -> int:
    """Measure the adapters; print a table and one JSON line.

    Returns:
        1 where an adapter is below bicubic enlargement at one of its scales, else 0.
    """
    found: list[Gain] = []
    left_out: dict[str, str] = {}
    for name in options.names or shipped():
        split: Split = options.split
        try:
            found += gains(Path(name).name, measure(name, config_of(name, options.photos), split))
        except UserError as error:
            if options.names:
                raise
            left_out[name] = str(error)  # the autoencoder of a generator that is not here
    print_gains(found, left_out, f"adapters against {PIXEL_BICUBIC}, {options.split} photographs, in dB")
    lines = [gain.entry() for gain in found]
    facts = {"split": options.split, "photos_sha256": PhotoSet.load(options.photos).sha256}
    results = facts | {"gains": lines, "not_measured": left_out}
    if options.out:
        write_json(Path(options.out), results, indent=2)
    print(json.dumps(results))
    return 0 if found and all(gain.holds for gain in found) else 1


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", adapters())


COMMAND = Command(
    "zoo_check",
    "Measure what every shipped adapter gains over bicubic enlargement.",
    "python -m benchmarks.zoo_check lua-tiny-d16 --split val",
    add_arguments,
    run,
    details,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.zoo_check` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.zoo_check", arguments)


if __name__ == "__main__":
    sys.exit(main())
