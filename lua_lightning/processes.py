"""Processes that work together: none waits for ever for one that is gone or hangs."""

import contextlib
import os
import platform
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 90.0  # a busy file server shows another machine's mark up to a minute late
BEATS = "processes"  # folder inside that of the work: one file a process, which its time keeps touching
DESERTED = 1  # exit status


@contextlib.contextmanager
def together(folder: Path, processes: int, last_words: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Watch over the other processes of one piece of work; end this one where another falls silent.

    Each process keeps touching a file of its own. One that is killed or stopped no longer does, and the others, which
    may be waiting for it inside a collective where no signal reaches them, end with a sentence and the status 1. A long
    computation, in which one process works and the others wait, goes on.

    Args:
        folder: Of the work, which every process sees; the same for all.
        processes: Their number; there is nothing to watch over with one.
        last_words: Called before this process ends.
    """
    if processes == 1:
        yield
        return
    watch = _Watch(folder / BEATS, last_words)
    watch.start()
    try:
        yield
    finally:
        watch.stop()


class _Watch(threading.Thread):
    def __init__(self, folder: Path, last_words: Callable[[], object]) -> None:
        super().__init__(name="process-watch", daemon=True)
        self._folder, self._last_words = folder, last_words
        self._own = folder / f"{platform.node()}-{os.getpid()}"
        self._ended = threading.Event()
        self._looked = time.monotonic()
        self._seen: dict[Path, tuple[int, float, bool]] = {}
        """By file: its time, since when it has that time by this process's clock, and whether it was seen to change."""

    def run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):  # a full disk or a file server away is no reason to end
                self._folder.mkdir(parents=True, exist_ok=True)
                self._own.touch()
                silent = self._silent()
                if silent is not None:
                    self._end(silent)
            self._ended.wait(BEAT_SECONDS)

    def stop(self) -> None:
        self._ended.set()
        self.join()
        with contextlib.suppress(OSError):
            self._own.unlink()
            self._folder.rmdir()  # the last one clears away

    def _silent(self) -> str | None:
        """Return the name of a process that was alive and is silent; one that ended in order has no file any more."""
        now = time.monotonic()
        if now - self._looked > SILENCE_SECONDS / 2:  # all were stopped together, this one too
            self._seen = {}
        self._looked = now
        found = {}
        for path in self._folder.iterdir():
            with contextlib.suppress(OSError):
                stamp = path.stat().st_mtime_ns
                before = self._seen.get(path, (stamp, now, False))
                found[path] = before if before[0] == stamp else (stamp, now, True)
        self._seen = found
        for path, (_, since, alive) in found.items():
            if alive and now - since > SILENCE_SECONDS:
                return path.name
        return None

    def _end(self, silent: str) -> None:
        sentence = f"process {silent} was killed or hangs: nothing was heard of it for {SILENCE_SECONDS:.0f} seconds"
        print(f"\n{sentence}; see what it said, then resume", file=sys.stderr, flush=True)
        with contextlib.suppress(Exception):
            self._last_words()
        os._exit(DESERTED)
