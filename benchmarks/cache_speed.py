"""Pairs per second of encoding a cache, and which part of the work bounds them.

Command: make bench-cache   (EXPERIMENT=experiments/paper/stage1.yaml ARGS="cache.workers=16 --pairs 2048")
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from lua_lightning.commands.choices import SETTINGS_HINT, experiments
from lua_lightning.commands.command import Command, add_settings, listing, run_command
from lua_lightning.config import RunConfig, load_config
from lua_lightning.data_config import CacheConfig
from lua_lightning.environment import best_device
from lua_lightning.errors import UserError
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_tensors
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.encoding import crop_images, cut_crops, encode_images, same_photo
from lua_lightning.pairs.photos import PhotoSet, file_sha256
from lua_lightning.pairs.plan import Crop, plan_crops
from lua_lightning.recipes import find_recipe
from lua_lightning.training.checks import check_run

READ, ENCODED = ("decode", "resize"), ("encode", "write")  # what the workers do, and what goes on beside them
PARTS = {
    "decode": "read and decode the photographs",
    "resize": "reduce them and cut the crops",
    "encode": "reduce the crops and encode all three sizes",
    "write": "write the shards and hash them",
}


@dataclass(frozen=True)
class Speed:
    """What was measured of encoding `pairs` pairs."""

    pairs: int
    workers: int
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each of `PARTS` by itself, one after the other."""
    together: float = 0.0
    """Seconds of the same work as a build of a cache does it, reading ahead."""

    @property
    def lanes(self) -> dict[str, tuple[tuple[str, ...], int]]:
        """The parts that wait for each other, and how many threads work on them; without workers all do."""
        if self.workers == 0:
            return {"all": (READ + ENCODED, 1)}
        return {"reading": (READ, self.workers), "encoding": (ENCODED, 1)}

    @property
    def bound(self) -> str:
        """The longest part of those that the others wait for."""
        costs = {parts: sum(self.seconds[part] for part in parts) / threads for parts, threads in self.lanes.values()}
        return max(max(costs, key=lambda parts: costs[parts]), key=lambda part: self.seconds[part])


class _Stopwatch:
    """Adds up the seconds of parts by name."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[part] += time.perf_counter() - started


def measure(config: CacheConfig, photos: PhotoSet, codec: LatentCodec, pairs: int) -> Speed:
    """Return the speed of encoding the first `pairs` training pairs.

    Raises:
        UserError: No photograph is as large as a crop.
    """
    through = LatentCodec.from_pretrained(config.through).to(codec.device) if config.through else None
    crops = list(islice(plan_crops(photos, "train", config), pairs))
    if not crops:
        raise UserError(f"no training photograph in {photos.folder} has both sides >= {config.crop_px} px")
    shards = [crops[start : start + config.shard_pairs] for start in range(0, len(crops), config.shard_pairs)]

    def encode(images: Iterator[Tensor], shard: list[Crop]) -> dict[str, Tensor]:
        return encode_images(images, shard, codec, through, config, config.train_pixels)

    with tempfile.TemporaryDirectory(dir=_existing(Path(config.folder))) as folder:
        path, watch = Path(folder) / "shard.safetensors", _Stopwatch()
        with crop_images(photos, crops[:1], config) as images:
            encode(images, crops[:1])  # the first pass chooses kernels
        for shard in shards:
            found: list[Tensor] = []
            for together in same_photo(shard):
                with watch.of("decode"):
                    pixels = photos.read(photos.photos[together[0].photo])
                with watch.of("resize"):
                    found += cut_crops(pixels, together, config.crop_px)
            with watch.of("encode"):
                tensors = encode(iter(found), shard)
            with watch.of("write"):
                _write(path, tensors)
        started = time.perf_counter()
        with crop_images(photos, crops, config) as images:
            for shard in shards:
                _write(path, encode(images, shard))
        return Speed(len(crops), config.workers, watch.seconds, time.perf_counter() - started)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_tensors(path, tensors)
    file_sha256(path)


def _existing(folder: Path) -> Path:
    """Return the nearest folder above that is there: the disk that a cache would lie on."""
    return next(path for path in (folder, *folder.resolve().parents) if path.is_dir())


def print_card(speed: Speed, title: str) -> None:
    """Print the table and the sentence on stderr."""
    table = plain_table(title, "part", ["seconds", "share", "pairs/s alone"])
    whole = sum(speed.seconds.values())
    for part, words in PARTS.items():
        seconds = speed.seconds[part]
        rate = f"{speed.pairs / seconds:.1f}" if seconds else "-"
        table.add_row(f"{part}: {words}", f"{seconds:.2f}", f"{seconds / whole:.0%}", rate)
    console = Console(stderr=True)
    console.print(table)
    console.print(said(speed), highlight=False)


def said(speed: Speed) -> str:
    """Return the sentence that says how fast it is and why."""
    rate, lanes = speed.pairs / speed.together, []
    for name, (parts, threads) in speed.lanes.items():
        alone = speed.pairs * threads / sum(speed.seconds[part] for part in parts)
        lanes.append(f"{name} by {threads} thread{'s' * (threads > 1)} could do {alone:.1f}")
    return f"{rate:.1f} pairs/s with cache.workers={speed.workers}, bound by {speed.bound}: {', '.join(lanes)}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.cache_speed`."""
    parser.add_argument("experiment", type=find_recipe, help="YAML file or recipe, such as stage1")
    add_settings(parser, "settings that override the file's, such as cache.codec=tiny-d4 cache.workers=8")
    parser.add_argument("--pairs", type=int, help="training pairs to encode (default: 1024 on a GPU, 64 without)")


def run(options: argparse.Namespace) -> None:
    """Measure; print a table, what bounds it, and one JSON line. Nothing is kept."""
    if options.pairs is not None and options.pairs < 1:
        raise UserError(f"--pairs {options.pairs} is below 1")
    config = load_config(RunConfig, options.experiment, options.overrides)
    check_run(config)
    device = best_device()
    codec = LatentCodec.from_pretrained(config.cache.codec).to(device)
    pairs = options.pairs or (64 if codec.device.type == "cpu" else 1024)
    speed = measure(config.cache, PhotoSet.load(config.data.photos), codec, pairs)
    print_card(speed, f"{speed.pairs} pairs of {config.cache.crop_px} px with {config.cache.codec} on {codec.device}")
    content: dict[str, Any] = {
        "codec": config.cache.codec,
        "device": str(codec.device),
        "crop_px": config.cache.crop_px,
        "pairs": speed.pairs,
        "workers": speed.workers,
        "seconds": {**speed.seconds, "together": speed.together},
        "pairs_per_second": speed.pairs / speed.together,
        "bound": speed.bound,
    }
    print(json.dumps(content))


def details() -> str:
    """Return what can be chosen."""
    return listing("choices", experiments()) + f"\n\n{SETTINGS_HINT}"


COMMAND = Command(
    "cache_speed",
    "Measure how many pairs a second the cache is encoded at, and what bounds that.",
    "python -m benchmarks.cache_speed stage1 cache.workers=4 --pairs 128",
    add_arguments,
    run,
    details,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.cache_speed` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.cache_speed", arguments)


if __name__ == "__main__":
    sys.exit(main())
