"""Lightning callbacks: image grids, progress and a clean stop."""

import contextlib
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, RichProgressBar
from torch import Tensor

from lua_lightning.evaluation.rows import LATENT_BICUBIC, LUA, PHOTO_BICUBIC
from lua_lightning.images import to_uint8
from lua_lightning.processes import together
from lua_lightning.signals import Stopped, comes_again, ended_by_signal
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.checkpoints import LastCheckpoint


def comparison(images: dict[str, Tensor], row: int, scale: int) -> Tensor:
    """Return LR (pixels repeated) and latent bicubic above adapter and HR, (1, 3, 2H, 2W) in [-1, 1]."""
    small = F.avg_pool2d(images[PHOTO_BICUBIC][row : row + 1], scale)
    cells = [F.interpolate(small, scale_factor=scale, mode="nearest")]
    cells += [images[name][row : row + 1].clamp(-1, 1) for name in (LATENT_BICUBIC, LUA, "hr")]
    return torch.cat([torch.cat(cells[:2], dim=-1), torch.cat(cells[2:], dim=-1)], dim=-2)


class ImageGrids(Callback):
    """Log a grid (LR, latent bicubic, adapter, HR) per shown sample and scale, under fixed keys for the step slider."""

    def __init__(self, tracker: MLflowTracker):
        self.tracker = tracker

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        rows = pl_module.shown_rows(batch)
        for scale, images in outputs.items():
            for position, row in enumerate(rows):
                name = Path(pl_module.photo_names[int(batch["photo"][row])]).stem
                grid = to_uint8(comparison(images, position, scale).cpu())
                self.tracker.log_image(f"val/x{scale}/{name}", grid, trainer.global_step)


class Progress(RichProgressBar):
    """Lightning's bar with the loss terms under their short names."""

    def get_metrics(self, trainer: L.Trainer, pl_module: Any) -> dict[str, Any]:
        metrics: dict[str, Any] = {**super().get_metrics(trainer, pl_module), **pl_module.shown}
        metrics.pop("v_num", None)
        short = {"train/images_per_second": "images/s", "train/data_wait": "wait"}
        names = {name: name.removeprefix("train/loss/").removeprefix("train/") for name in metrics}
        return {short.get(str(name), names[name]): value for name, value in metrics.items()}


class Together(Callback):
    """End this process, with a sentence, where another one that trains with it is killed or hangs.

    Args:
        folder: Of the run, as the first process knows it.
        tracker: Told how the run ended.
    """

    def __init__(self, folder: Path, tracker: MLflowTracker):
        self.folder, self.tracker = folder, tracker
        self._watch = contextlib.ExitStack()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        folder = Path(trainer.strategy.broadcast(str(self.folder)))
        self._watch.enter_context(together(folder, trainer.world_size, self._last_words))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._watch.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._watch.close()

    def _last_words(self) -> None:
        self.tracker.mark("FAILED")
        self.tracker.finalize("failed")


class CleanStop(Callback):
    """Let Ctrl-C and SIGTERM end training between two steps, with a checkpoint that resumes exactly there.

    Stopping in the middle of a step would save an optimiser that has moved some weights and an average that has not
    followed. A second Ctrl-C stops at once and leaves the last regular checkpoint. Use it as a context manager around
    `fit`, and as a callback inside.

    Args:
        tracker: Told how the run ended.
        last: Saves the checkpoint.

    Attributes:
        number: Of the signal that came.
    """

    def __init__(self, tracker: MLflowTracker, last: LastCheckpoint):
        self.tracker, self.last = tracker, last
        self.number: int | None = None
        self._in_steps = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "CleanStop":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if isinstance(error, (SystemExit, KeyboardInterrupt)) and self.number is not None:  # Lightning's ways to end
            raise Stopped(self.number) from None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return  # a scheduler may send SIGTERM to the job and to each of its processes
        if not self._in_steps and comes_again(number, frame):
            return
        self.number = number
        if not self._in_steps:  # encoding pairs, say, which goes on where it is stopped
            raise KeyboardInterrupt
        print("\nstopping after this step; once more Ctrl-C stops at once", file=sys.stderr)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._in_steps = True
        signal.signal(signal.SIGTERM, self._ask)  # Lightning's own handler waits for other processes inside a signal

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # a stop inside a step would shift the stream of samples
            return
        # Asking the others makes all wait for the slowest, so it is done as often as the numbers are logged.
        if trainer.world_size > 1 and trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        # All processes stop at the same step, whichever was told first.
        self.last.wanted = trainer.strategy.reduce_boolean_decision(self.number is not None, all=False)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.last.wanted:  # not sooner: what the last step logged is recorded only after the hook above
            self.number = self.number or signal.SIGTERM
            raise KeyboardInterrupt

    def on_exception(self, trainer: L.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.tracker.mark("KILLED" if ended_by_signal(exception) else "FAILED")
