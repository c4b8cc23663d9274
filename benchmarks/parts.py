"""Seconds of the parts of a step, and what the machine multiplies at best."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

from baselines.measure import Spread
from lua_lightning.environment import run_info

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
SIDES = {"cpu": 2048, "cuda": 8192}  # of the matrices that the rate is measured with
TRIES = 7


def made_on() -> dict[str, Any]:
    """Return what seconds depend on: commit, device, threads and versions."""
    info = run_info()
    return {key: info[key] for key in ("commit", "device", "threads", "versions")}


def wait_for(device: str) -> None:
    """Return when everything queued on the device is done."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


class PartTimes:
    """Add up the seconds of parts by name; what a part does inside another counts for the inner one alone.

    On a GPU it waits for the device at both ends of a part, which a whole step does not: measure the two apart.

    Attributes:
        on: Whether it measures at all.
        seconds: By name.
    """

    def __init__(self, device: str) -> None:
        self.device, self.on = device, False
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what happens inside as the part `name`."""
        if not self.on:
            yield
            return
        wait_for(self.device)
        started = time.perf_counter()
        self._inner.append(0.0)
        yield
        wait_for(self.device)
        taken = time.perf_counter() - started
        self.seconds[name] = self.seconds.get(name, 0.0) + taken - self._inner.pop()
        if self._inner:
            self._inner[-1] += taken

    def of(self, name: str, function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """Return the function, measured as the part `name`."""

        def measured(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self(name):
                return function(*args, **kwargs)

        return measured


def matrix_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Return the FLOP/s of the fastest of some products of square matrices."""
    side = side or SIDES[torch.device(device).type]
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(seconds_of(lambda: left @ right, device) for _ in range(TRIES))


def seconds_of(function: Callable[[], object], device: str) -> float:
    """Return what one call takes, the device's queue included."""
    wait_for(device)
    started = time.perf_counter()
    function()
    wait_for(device)
    return time.perf_counter() - started


def times_as_fast(ours: Callable[[], object], other: Callable[[], object], device: str, repeats: int) -> Spread:
    """Return how many times as fast `ours` is as `other`: the spread over repeats in turns, after one to warm up."""
    taken = [(seconds_of(ours, device), seconds_of(other, device)) for _ in range(repeats + 1)]
    return Spread.of([theirs / mine for mine, theirs in taken[1:]])
