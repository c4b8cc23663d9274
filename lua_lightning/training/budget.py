"""How many steps of a run fit into a time: measured on this machine, by the run's own training loop."""

import time
from dataclasses import replace
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.callbacks import Callback

from lua_lightning.config import RunConfig
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.datamodule import PairDataModule
from lua_lightning.training.adversary import adapter_module
from lua_lightning.training.train import build_adapter, trainer_precision

WARM_UP, MEASURED = 5, 20  # steps
CLOSING_SECONDS = 20.0  # validation and export, before any stage has shown how long they take
FEWEST_STEPS = 10


class StepClock(Callback):
    """Measure the seconds of a step, waiting for data included, once the first ones are over."""

    def __init__(self) -> None:
        self._started = self._ended = 0.0

    @property
    def seconds_per_step(self) -> float:
        """Mean over the measured steps."""
        return (self._ended - self._started) / MEASURED

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == WARM_UP:
            float(outputs["loss"])  # waits for an accelerator
            self._started = time.perf_counter()
        elif trainer.global_step == WARM_UP + MEASURED:
            float(outputs["loss"])
            self._ended = time.perf_counter()


def seconds_per_step(run: RunConfig, init_from: str | None) -> float:
    """Return the seconds that a training step of `run` takes here; nothing is written but the pair cache."""
    short = replace(run, train=replace(run.train, steps=WARM_UP + MEASURED))
    codec = LatentCodec.from_pretrained(run.cache.codec)
    codec.mixed_precision = run.train.decoder_precision == "bf16-mixed"
    clock = StepClock()
    trainer = L.Trainer(
        accelerator=run.train.accelerator,
        devices=run.train.devices,
        num_nodes=run.train.num_nodes,
        precision=trainer_precision(run.train),
        max_steps=short.train.steps,
        accumulate_grad_batches=run.train.accumulate,
        gradient_clip_val=run.optim.gradient_clip,
        limit_val_batches=0,
        logger=False,
        callbacks=[clock],
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    module = adapter_module(short, build_adapter(run, codec, init_from), codec)
    trainer.fit(module, PairDataModule(short, codec))
    return clock.seconds_per_step


class Budget:
    """Share a time among the stages of a chain, by weight, as it runs.

    Args:
        minutes: From now on; encoding the pairs, measuring, validating and exporting are part of it.
        shares: Weight of each stage.
    """

    def __init__(self, minutes: float, shares: list[float]) -> None:
        self._deadline = time.monotonic() + 60 * minutes
        self._shares = shares
        self._closing = CLOSING_SECONDS

    def fitted(self, run: RunConfig, number: int, init_from: str | None) -> RunConfig:
        """Return the `number`-th stage with as many steps as its share of the remaining time allows."""
        per_step = seconds_per_step(run, init_from)
        left = self._deadline - time.monotonic() - self._closing * len(self._shares[number:])
        mine = left * self._shares[number] / sum(self._shares[number:])
        steps = max(FEWEST_STEPS, int(mine / per_step))
        train = replace(run.train, steps=steps, checkpoint_every=max(1, min(run.train.checkpoint_every, steps)))
        optim = replace(run.optim, warmup_steps=min(run.optim.warmup_steps, steps // 10))
        return replace(run, train=train, optim=optim, validation=replace(run.validation, every=steps))

    def close(self, seconds: float, training_seconds: float) -> None:
        """Note how long a finished stage took beside its steps."""
        self._closing = max(1.0, seconds - training_seconds)
