"""Ctrl-C and SIGTERM: every command ends in order, with 130 or 143, and says how to go on."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

ENDED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
SAME_COMMAND = "the same command goes on where it stopped"


class Stopped(SystemExit):
    """A signal ended the work; the exit status is 128 + its number, as a shell would have it.

    Args:
        number: Of the signal.
        goes_on: How to go on; empty where the command itself knows best.
    """

    def __init__(self, number: int, goes_on: str = "") -> None:
        super().__init__(128 + number)
        self.number, self.goes_on = number, goes_on


def ended_by_signal(error: BaseException | None) -> bool:
    """Return whether an exception means that somebody stopped the work, in our words, Python's or Lightning's."""
    return isinstance(error, (KeyboardInterrupt, Stopped)) or type(error).__name__ == "SIGTERMException"


@contextlib.contextmanager
def resumable(goes_on: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM inside into `Stopped`, with the way to go on."""
    try:
        yield
    except Stopped as stop:
        raise Stopped(stop.number, goes_on) from None
    except KeyboardInterrupt:
        raise Stopped(signal.SIGINT, goes_on) from None
    except SystemExit as error:
        if not ended_by_signal(error):
            raise
        raise Stopped(signal.SIGTERM, goes_on) from None


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does; a second one does not disturb the ending."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with_launcher() -> None:
    """Let Linux end this process when the launcher that started it as one of several is killed."""
    if not sys.platform.startswith("linux") or not {"LOCAL_RANK", "RANK"} & os.environ.keys():
        return
    # The first process may close its records. The others wait for it inside a collective, where only a kill reaches.
    end = signal.SIGTERM if is_first_process() else signal.SIGKILL
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, end, 0, 0, 0)  # PR_SET_PDEATHSIG


def is_first_process() -> bool:
    """Return whether this is the first, or the only, of the processes that work together, by their environment."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return all(rank == "0" for rank in ranks)
