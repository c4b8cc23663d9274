"""What training steps tell about themselves: kept on the device, brought to the host once in `train.log_every` steps.

Reading one number of a device makes the host wait for everything queued there, and averaging one over processes makes
every process wait for the slowest. So a step only queues: its numbers are added up where they are, and `report` reads
all of them with one reduction and one copy.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PATIENCE = 10  # steps in a row without finite gradients, after which training stops


@dataclass
class Throughput:
    """Images per second over a whole run, resumes included; validation and checkpoints are left out.

    The clock runs from the moment at which the next batch is asked for to the end of its step, so that waiting for
    data counts. Call `ask` before a batch is fetched, `fetch` when it is there, `stepped` after an optimiser step, and
    `finish` when the batch is done: a checkpoint between these two is not counted.
    """

    images: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    _mark: float = 0.0
    _stepped: bool = False

    def ask(self) -> None:
        """Start the clock; also after a pause, which is then not counted."""
        self._mark = time.perf_counter()

    def fetch(self) -> None:
        """Count the time since `ask` as waiting for data."""
        self.waiting += self._lap()

    def stepped(self) -> None:
        """Count an optimiser step, which ends its batch but for callbacks."""
        self._lap()
        self._stepped = True

    def finish(self, images: int) -> None:
        """Count a batch of `images` HR patches, those of all processes, and ask for the next."""
        if not self._stepped:
            self._lap()
        self.images += images
        self._stepped = False
        self.ask()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        self.seconds += lap
        return lap

    @property
    def images_per_second(self) -> float:
        """HR patches per second, of all processes."""
        return self.images / max(self.seconds, 1e-9)

    @property
    def data_wait(self) -> float:
        """The share of the time that went by waiting for data, in [0, 1]."""
        return self.waiting / max(self.seconds, 1e-9)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"images": self.images, "seconds": self.seconds, "waiting": self.waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; those of earlier versions did not count the waiting."""
        self.images, self.seconds, self.waiting = state["images"], state["seconds"], state.get("waiting", 0.0)


class StepMonitor:
    """Add up what the micro-batches of a step show, and count the steps whose gradients were not finite.

    Attributes:
        skipped: Float tensors on the device: steps skipped in all, and in a row up to now.
    """

    def __init__(self) -> None:
        self.skipped = torch.zeros(2)
        self._sums: dict[str, Tensor] = {}
        self._micro_batches = 0
        self._norm = torch.zeros(())
        self._steps: list[tuple[Tensor, list[tuple[Tensor, Any]]]] = []  # since the last report
        self._batches: list[tuple[Tensor, Any]] = []  # of the step that is under way

    def see(self, loss: Tensor, photos: Any, values: Mapping[str, Tensor] | None = None) -> None:
        """Note a micro-batch: its loss, its photographs and, when its step will be reported, named scalars."""
        self._batches.append((loss.detach(), photos))
        if values:
            for name, value in values.items():
                self._sums[name] = self._sums[name] + value.detach() if name in self._sums else value.detach()
            self._micro_batches += 1

    def step(self, norm: Tensor) -> Tensor:
        """Note the gradient norm of a step.

        Returns:
            A scalar: 1 when the gradients are not finite and the step must be skipped, else 0.
        """
        broken = (~torch.isfinite(norm)).float()
        total, in_a_row = self.skipped.to(norm.device, non_blocking=True).unbind()
        self.skipped = torch.stack([total + broken, (in_a_row + 1) * broken])
        self._norm = norm.detach()
        self._steps.append((broken, self._batches))
        self._batches = []
        return broken

    def report(self, mean: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the step's values averaged over its micro-batches and processes, `gradient_norm` and `skipped_steps`.

        Args:
            mean: Averages a tensor over all processes.
        """
        sums = torch.stack(list(self._sums.values())) / self._micro_batches
        values = torch.cat([mean(sums.float()), self._norm.reshape(1), self.skipped]).tolist()  # the only wait
        shown = dict(zip(self._sums, values, strict=False))
        shown["gradient_norm"], shown["skipped_steps"], self.in_a_row = values[len(self._sums) :]
        self._sums, self._micro_batches = {}, 0
        return shown

    def broken_batches(self) -> list[tuple[float, list[int]]]:
        """Return loss and photographs of every batch of the steps skipped since the last call, and forget all steps.

        Where the losses of some of them are not finite, only those are returned: the others cannot be the reason.
        """
        batches = [
            (float(loss), [int(photo) for photo in photos])
            for broken, batches in self._steps
            if broken
            for loss, photos in batches
        ]
        self.forget()
        return batches

    def forget(self) -> None:
        """Forget the steps since the last report, none of which was skipped."""
        self._steps = []
