"""Checkpoints that no kill can lose: written whole, one kept behind, and a damaged one passed over."""

import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from lua_lightning.errors import UserError, first_line
from lua_lightning.files import write_torch

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"  # in the order in which a run resumes from them


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it; the last one is kept as the previous one."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: The disk does not take it; the one that was there is intact.
        """
        path = Path(path)
        write_torch(path, checkpoint, path.with_name(PREVIOUS) if path.name == LAST else None)


class LastCheckpoint(Checkpoint):
    """Save the checkpoint that a run resumes from, on optimiser steps and behind the validation of the same step.

    A checkpoint before the validation would resume behind it: a kill in between would lose the validation.

    Args:
        folder: Receives the checkpoint.
        every: Steps between two.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.wanted = False
        """Whether one is to be saved after this step whatever its number."""
        self.saved_step: int | None = None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:  # inside a step it would shift the stream of samples
            return
        if not _validates(trainer, batch_idx):
            self._save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        if self.wanted or trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.folder / LAST)
            self.saved_step = trainer.global_step


def _validates(trainer: L.Trainer, batch_idx: int) -> bool:
    """Return whether a validation follows this batch."""
    return (batch_idx + 1) % int(trainer.val_check_batch or 1) == 0 and sum(trainer.num_val_batches) > 0


def best_checkpoint(folder: Path, monitor: str) -> ModelCheckpoint:
    """Return the callback that keeps the weights with the best validation."""
    return ModelCheckpoint(
        dirpath=folder,
        filename=Path(BEST).stem,
        monitor=monitor,
        mode="max",
        enable_version_counter=False,
        auto_insert_metric_name=False,
    )


def to_resume_from(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest sound checkpoint, and a sentence on each damaged one that is newer; None: from the beginning.

    Raises:
        UserError: There are checkpoints, and all of them are damaged.
    """
    found = [folder / name for name in (LAST, PREVIOUS, BEST) if (folder / name).is_file()]
    damaged = []
    for path in found:
        reason = damage(path)
        if reason is None:
            return path, damaged
        damaged.append(f"{path} is damaged ({reason})")
    if damaged:
        raise UserError(
            f"{'; '.join(damaged)}: delete {'it' if len(damaged) == 1 else 'them'} to train this run again from its "
            "beginning, or bring back a copy"
        )
    return None, []


def damage(path: Path) -> str | None:
    """Return what is wrong with a checkpoint file, None for a sound one."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            return f"the checksum of {broken} does not fit"
        step_of(path)
    except Exception as error:  # torch, pickle and zipfile each raise their own
        return first_line(error)
    return None


def step_of(path: Path) -> int:
    """Return the optimiser step of a checkpoint."""
    return torch.load(path, map_location="meta", weights_only=True, mmap=True)["global_step"]
