"""Training steps of ours against a plain PyTorch loop over a plain SwinIR, taken in turns in one run.

Command: make bench-train   (ARGS="--sizes tiny --stages stage1 --rounds 9")
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor

from baselines.measure import Spread
from benchmarks.parts import PartTimes, made_on, matrix_rate, wait_for
from benchmarks.phases import write_results
from benchmarks.plain_swinir import PlainSwinIR
from benchmarks.plain_training import PlainLoop
from benchmarks.train_table import print_card
from lua_lightning.commands.command import Command, add_settings, listing, run_command
from lua_lightning.config import RunConfig, load_config
from lua_lightning.environment import best_device, use_tensor_cores
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.datamodule import PairDataModule
from lua_lightning.recipes import find_recipe
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.callbacks import CleanStop
from lua_lightning.training.checkpoints import LastCheckpoint
from lua_lightning.training.module import AdapterModule
from lua_lightning.training.train import build_adapter, make_trainer, quiet, trainer_precision

STAGES = ("stage1", "stage2", "stage3")
NEVER = 10**6  # steps until something that these runs do not do


@dataclass(frozen=True)
class Load:
    """What a step works on: pairs in a batch, their side in latents, and the steps that one loop takes in its turn."""

    batch: int
    side: int
    steps: int


LOADS = {
    "cpu": {"tiny": Load(16, 32, 4), "light": Load(16, 32, 2), "paper": Load(1, 64, 1)},
    "cuda": {"tiny": Load(64, 32, 20), "light": Load(32, 64, 10), "paper": Load(8, 64, 5)},
}
SMALL_CACHE = ("cache.crops_per_photo=2", "cache.held_out_crops_per_photo=1", "cache.held_out_photos=1")


@dataclass(frozen=True)
class Row:
    """One size in one stage.

    Attributes:
        seconds: Of a step, `ours` and `plain`.
        ratio: How many times as fast ours is, round by round.
        flops: Of a step, those of the plain network and the plain loop.
        share: Of the machine's rate of matrix products that our step reaches, in the run's precision.
        parts: Seconds of each part of a step, `ours` and `plain`, measured apart.
    """

    size: str
    stage: str
    batch: int
    side: int
    precision: str
    seconds: dict[str, Spread]
    ratio: Spread
    flops: int
    share: float
    parts: dict[str, dict[str, float]]

    @property
    def images_per_second(self) -> dict[str, float]:
        """Training pairs per second, `ours` and `plain`."""
        return {name: self.batch / spread.median for name, spread in self.seconds.items()}


class TimedModule(AdapterModule):
    """Our module, with the parts of its steps measured."""

    def __init__(self, config: RunConfig, adapter: LatentUpscaler, codec: LatentCodec, times: PartTimes) -> None:
        super().__init__(config, adapter, codec)
        self.times = times
        adapter.forward = times.of("forward", adapter.forward)  # of these two objects alone
        codec.decode = times.of("decode", codec.decode)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        with self.times("losses"):  # what is neither forward nor decode
            return super().training_step(batch, batch_index)

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        with self.times("backward"):
            super().backward(loss, *args, **kwargs)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        with self.times("optimiser"):
            super().optimizer_step(*args, **kwargs)

    def _report(self, step: int) -> None:
        with self.times("logging"):
            super()._report(step)


class Turns(Callback):
    """Let the plain loop take its turn after every few of our steps, and note what each turn took.

    The first turn of both warms up. After the last counted ones another measures the parts.

    Args:
        plain: The other loop.
        steps: Of a turn.
        rounds: Counted turns of each.
        times: Of our parts.
        device: Whose queue a turn ends with.
    """

    def __init__(self, plain: PlainLoop, steps: int, rounds: int, times: PartTimes, device: str) -> None:
        self.plain, self.steps, self.rounds, self.times, self.device = plain, steps, rounds, times, device
        self.seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        self.parts: dict[str, dict[str, float]] = {}
        self._done, self._mark, self._waited = 0, 0.0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._mark = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._done += 1
        if self._done % self.steps:
            return
        wait_for(self.device)
        ours = (time.perf_counter() - self._mark) / self.steps
        started = time.perf_counter()
        for _ in range(self.steps):
            self.plain.step()
        wait_for(self.device)
        plain = (time.perf_counter() - started) / self.steps
        turn = self._done // self.steps
        if self.times.on:
            waited = (pl_module.throughput.waiting - self._waited) / self.steps
            self.parts = {
                "ours": self._shares(self.times, ours, {"data": waited}),
                "plain": self._shares(self.plain.times, plain, {}),
            }
        elif turn > 1:
            self.seconds["ours"].append(ours)
            self.seconds["plain"].append(plain)
        if turn == self.rounds + 1:
            self.times.on = self.plain.times.on = True
            self._waited = pl_module.throughput.waiting
        self._mark = time.perf_counter()

    def _shares(self, times: PartTimes, whole: float, more: dict[str, float]) -> dict[str, float]:
        found = {**more, **{name: seconds / self.steps for name, seconds in times.seconds.items()}}
        return {**found, "rest": max(0.0, whole - sum(found.values()))}


def run_config(size: str, stage: str, load: Load, rounds: int, folder: Path, settings: Sequence[str] = ()) -> RunConfig:
    """Return the recipe of a stage, at a size, with both heads in every step and nothing but steps to do."""
    fixed = [
        f"adapter.size={size}",
        "adapter.init_from=null",
        f"runs={folder / 'runs'}",
        f"train.steps={load.steps * (rounds + 2)}",
        f"train.checkpoint_every={NEVER}",
        f"train.batch_size={load.batch}",
        f"train.crop_latents={load.side}",
        "train.joint_fraction=1.0",
        "train.devices=1",
        f"validation.every={NEVER}",
        f"cache.folder={folder / 'cache'}",
        *SMALL_CACHE,
    ]
    return load_config(RunConfig, find_recipe(stage), [*fixed, *settings])


def measure(size: str, stage: str, load: Load, rounds: int, folder: Path, rate: float, settings: Sequence[str]) -> Row:
    """Return the row of a size in a stage.

    Args:
        size: Of the adapter.
        stage: Name of a recipe.
        load: What a step works on.
        rounds: Counted turns of each loop.
        folder: Receives the cache and the run.
        rate: FLOP/s of matrix products in the run's precision.
        settings: `key=value` texts that override the recipe's.
    """
    config = run_config(size, stage, load, rounds, folder, settings)
    L.seed_everything(config.seed, verbose=False)
    device = best_device()
    ours, theirs = (LatentCodec.from_pretrained(config.cache.codec).to(device) for _ in range(2))
    precision = trainer_precision(config.train)
    adapter = build_adapter(config, ours, None)
    plain = PlainSwinIR(adapter.config).to(device)
    plain.load_state_dict(adapter.state_dict())
    run = Path(tempfile.mkdtemp(dir=folder))
    data = PairDataModule(config, ours)
    data.prepare_data()
    data.setup("fit")
    loop = PlainLoop(plain, theirs, config, data.train_pairs, "bf16" in precision, run / "log", PartTimes(device))
    flops = loop.flops()
    times = PartTimes(device)
    turns = Turns(loop, load.steps, rounds, times, device)
    with MLflowTracker("bench-train", f"{size}-{stage}", run, root=folder, system_metrics=False) as tracker:
        stop = CleanStop(tracker, LastCheckpoint(run / "checkpoints", NEVER))
        trainer = make_trainer(config, tracker, run, stop)
        trainer.limit_val_batches = 0
        others = [callback for callback in trainer.callbacks if not isinstance(callback, ModelCheckpoint)]  # type: ignore[attr-defined]
        trainer.callbacks = [turns, *others]  # type: ignore[attr-defined]
        with stop:
            trainer.fit(TimedModule(config, adapter, ours, times), data)
    seconds = {name: Spread.of(taken) for name, taken in turns.seconds.items()}
    ratio = Spread.of([b / a for a, b in zip(turns.seconds["ours"], turns.seconds["plain"], strict=True)])
    share = flops / seconds["ours"].median / rate
    return Row(size, stage, load.batch, load.side, precision, seconds, ratio, flops, share, turns.parts)


@contextmanager
def tracking_in(folder: Path):
    """Record runs in a database of the folder's own inside."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    try:
        yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI")
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def measure_all(
    sizes: Sequence[str], stages: Sequence[str], rounds: int, settings: Sequence[str], loads: dict[str, Load]
) -> tuple[list[Row], dict[str, float]]:
    """Return the rows of every size and stage, and the rates of matrix products by precision."""
    device = best_device()
    use_tensor_cores(device)
    quiet()
    rows, rates = [], {}
    with tempfile.TemporaryDirectory() as name, tracking_in(Path(name)):
        for size in sizes:
            for stage in stages:
                config = run_config(size, stage, loads[size], rounds, Path(name), settings)
                precision = trainer_precision(config.train)
                if precision not in rates:
                    dtype = torch.bfloat16 if "bf16" in precision else torch.float32
                    rates[precision] = matrix_rate(device, dtype)
                row = measure(size, stage, loads[size], rounds, Path(name), rates[precision], settings)
                rows.append(row)
                print(f"{size}, {stage}: {row.ratio.median:.2f} times the plain loop", file=sys.stderr)
    return rows, rates


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `python -m benchmarks.train_speed`."""
    parser.add_argument("--sizes", nargs="+", default=[*LOADS["cpu"]], help="of the adapter")
    parser.add_argument("--stages", nargs="+", default=[*STAGES], help="of the curriculum")
    parser.add_argument("--rounds", type=int, default=5, help="counted turns of each loop")
    parser.add_argument("--batch", type=int, help="pairs in a batch (default: by size and device)")
    parser.add_argument("--side", type=int, help="side of a pair in latents (default: by size and device)")
    parser.add_argument("--steps", type=int, help="steps of a turn (default: by size and device)")
    add_settings(parser, "settings that override the recipes', such as cache.codec=tiny-d16 train.precision=32-true")
    parser.add_argument("--out", type=Path, default=Path("runs/train-speed.json"), help="file of the results")


def run(options: argparse.Namespace) -> None:
    """Measure, print the card, and write and print the JSON."""
    known = LOADS["cuda" if best_device() == "cuda" else "cpu"]
    for kind, asked, names in (("size", options.sizes, known), ("stage", options.stages, STAGES)):
        for name in asked:
            if name not in names:
                raise unknown_name(kind, name, names)
    for name in ("rounds", "batch", "side", "steps"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise UserError(f"--{name} {getattr(options, name)} is below 1")
    given = {name: getattr(options, name) for name in ("batch", "side", "steps") if getattr(options, name)}
    loads = {size: Load(**{**asdict(load), **given}) for size, load in known.items()}
    rows, rates = measure_all(options.sizes, options.stages, options.rounds, options.overrides, loads)
    plain = json.loads(json.dumps([{**asdict(row), "images_per_second": row.images_per_second} for row in rows]))
    print_card(plain)
    write_results({**made_on(), "matrix_flops_per_second": rates, "rows": plain}, options.out)


COMMAND = Command(
    "train_speed",
    "Compare our training steps with a plain PyTorch loop over a plain SwinIR.",
    "python -m benchmarks.train_speed --sizes tiny --stages stage1",
    add_arguments,
    run,
    lambda: listing("choices", {"sizes": [*LOADS["cpu"]], "stages": [*STAGES]}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m benchmarks.train_speed` and return the exit status."""
    return run_command(COMMAND, "python -m benchmarks.train_speed", arguments)


if __name__ == "__main__":
    sys.exit(main())
