"""Seconds and peak memory of the phases of one image."""

import os
import resource
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

PHASES = ("generate", "upscale", "decode")
SAMPLE_SECONDS = 0.01


class Clock:
    """Measure phases on one device; on a GPU it waits for the device at both ends.

    Attributes:
        seconds: Wall time by phase; a phase that is entered twice adds up.
        peak_mib: Peak memory of each phase in MiB: what the allocator held on a GPU, the process's resident set on a
            CPU, models and libraries included.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.seconds: dict[str, float] = {}
        self.peak_mib: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure what happens inside as the phase `name`, one of `PHASES`."""
        if name not in PHASES:
            raise ValueError(f"unknown phase {name!r}")
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        with ResidentPeak(idle=cuda) as resident:
            started = time.perf_counter()
            yield
            if cuda:
                torch.cuda.synchronize(self.device)
            elapsed = time.perf_counter() - started
        peak = torch.cuda.max_memory_allocated(self.device) / 2**20 if cuda else resident.mib
        self.seconds[name] = self.seconds.get(name, 0.0) + elapsed
        self.peak_mib[name] = max(self.peak_mib.get(name, 0.0), peak)


class ResidentPeak:
    """The highest resident set of this process between entering and leaving, in MiB.

    Linux forgets its own high-water mark on request; where that is refused the resident set is sampled by a thread,
    and where it cannot be read at all the high-water mark of the whole process is given.
    """

    def __init__(self, idle: bool = False):
        self.mib, self.idle = 0.0, idle
        self._stop = threading.Event()

    def __enter__(self) -> "ResidentPeak":
        self._thread = None
        self._forgotten = not self.idle and _forget_peak()
        if not self.idle and not self._forgotten and resident_mib() is not None:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.is_set():
            self.mib = max(self.mib, resident_mib() or 0.0)
            self._stop.wait(SAMPLE_SECONDS)

    def __exit__(self, *_: object) -> None:
        if self.idle:
            return
        if self._thread:
            self._stop.set()
            self._thread.join()
            self.mib = max(self.mib, resident_mib() or 0.0)
        elif self._forgotten:
            self.mib = _status("VmHWM") or 0.0
        else:
            unit = 2**20 if sys.platform == "darwin" else 2**10
            self.mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def resident_mib() -> float | None:
    """Return the resident set of this process in MiB, None where the system does not say."""
    return _status("VmRSS")


def _status(key: str) -> float | None:
    try:
        for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def _forget_peak() -> bool:
    """Set the process's high-water mark back to what it holds now; return whether the system did so."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    before, now = _status("VmHWM"), _status("VmRSS")
    return before is not None and now is not None and before < now + 8
