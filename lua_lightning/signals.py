"""Ctrl-C and SIGTERM: every command ends in order, with 130 or 143, and says how to go on."""

import _thread
import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

ENDED = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
SAME_COMMAND = "the same command goes on where it stopped"
AGAIN_SECONDS = 0.05
INSTALLED = "lua-lightning"  # the program that pip installs


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


@dataclass(frozen=True)
class _AtOnce:
    """Ends a program that has begun nothing yet: one line, whatever an import would make of an exception."""

    program: str

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if is_first_process():
            with contextlib.suppress(OSError):
                os.write(2, f"{self.program}: {ENDED[signal.Signals(number)]}\n".encode())
        os._exit(128 + number)


def begin(package: str) -> None:
    """Let Ctrl-C and SIGTERM end a program of `package` in one line while it still imports.

    A package's `__init__` calls this before anything large is imported. `terminable` takes over where the work begins.
    Nothing changes where another program imports the package.
    """
    program = _program_of(package)
    if program is None or threading.current_thread() is not threading.main_thread():
        return
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) == usual:
            signal.signal(number, _AtOnce(program))


def _program_of(package: str) -> str | None:
    """Return what the user typed where this process runs a program of `package`; None where it runs another one."""
    (first,) = sys.argv[:1] or [""]
    if first == "-m":  # so while Python looks for the module
        found = (re.fullmatch(rf"(?:-\w*m)?({package}(?:\.\w+)*)", word) for word in sys.orig_argv)
        return next((f"python -m {match[1]}" for match in found if match), None)
    return INSTALLED if os.path.basename(first) == INSTALLED and first in sys.orig_argv else None


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind the program as Ctrl-C does; a second one does not disturb the ending.

    Neither breaks an import, nor is it lost in a destructor, whose exceptions Python only prints: it comes again.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
        yield
        return
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _unwind)}
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler or isinstance(usual, _AtOnce):
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _unwind)
    hook, sys.unraisablehook = sys.unraisablehook, _again_if_lost
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def _unwind(number: int, frame: FrameType | None) -> None:
    if comes_again(number, frame):
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped(number)


def comes_again(number: int, frame: FrameType | None) -> bool:
    """Return whether a signal's handler must not raise now, because the program imports something.

    Libraries take an exception in there for a missing module, or are half imported afterwards. The signal comes again
    a little later, until the import is done.
    """
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _send_again(number)
            return True
        frame = frame.f_back
    return False


def _again_if_lost(lost: "sys.UnraisableHookArgs") -> None:
    if not ended_by_signal(lost.exc_value):
        sys.__unraisablehook__(lost)
        return
    number = lost.exc_value.number if isinstance(lost.exc_value, Stopped) else signal.SIGINT
    if number == signal.SIGTERM:
        signal.signal(number, _unwind)
    _send_again(number)


def _send_again(number: int) -> None:
    def send() -> None:
        time.sleep(AGAIN_SECONDS)
        os.kill(os.getpid(), number)

    _thread.start_new_thread(send, ())  # `threading` takes a lock, which the code that was interrupted may hold


def end_with_launcher() -> None:
    """Let Linux end this process when the launcher that started it as one of several is killed."""
    if not sys.platform.startswith("linux") or not {"LOCAL_RANK", "RANK"} & os.environ.keys():
        return
    import ctypes

    # The first process may close its records. The others wait for it inside a collective, where only a kill reaches.
    end = signal.SIGTERM if is_first_process() else signal.SIGKILL
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, end, 0, 0, 0)  # PR_SET_PDEATHSIG


def is_first_process() -> bool:
    """Return whether this is the first, or the only, of the processes that work together, by their environment."""
    ranks = (os.environ.get(name, "0") for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))
    return all(rank == "0" for rank in ranks)
