"""What stands around every command: an end that nobody planned is one line and an exit status, never a traceback."""

import errno
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any

from lua_lightning.errors import UserError, first_line
from lua_lightning.signals import ENDED, Stopped, end_with_launcher, is_first_process, terminable

REFUSED, FAILED, CUT_OFF = 2, 1, 141  # the last is 128 + SIGPIPE, as in a shell
FULL = (errno.ENOSPC, errno.EDQUOT)
# What PyTorch's backends say when a process that works with this one is gone or silent.
DESERTED = re.compile(r"connection (closed|reset) by peer|timed out waiting|socket timeout|watchdog.*timeout", re.I)


def guarded(program: str, work: Callable[[], int | None], goes_on: str = "") -> int:
    """Run `work` and return the exit status.

    Args:
        program: What the user typed, which opens each line.
        work: Returns the status; None is success.
        goes_on: How to go on after a signal, where `work` does not say so itself.

    Returns:
        The status of `work`; 2 after a mistake of the user, 1 where the system refused something (a full disk, a
        read-only folder, no memory), 130 after Ctrl-C, 143 after SIGTERM, 141 where nobody reads the output any more.
    """
    end_with_launcher()
    print_any_name()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow thinks of metadata; damage is an error of ours
    try:
        with terminable():
            status = work() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        return _say(program, str(error), REFUSED)
    except Stopped as stop:
        return _say_ended(program, stop.number, stop.goes_on or goes_on)
    except SystemExit:  # help and version end like this
        settle_output()
        raise
    except KeyboardInterrupt as error:
        return _say_ended(program, signal.SIGINT, str(error) or goes_on)
    except BrokenPipeError:
        settle_output()
        return CUT_OFF
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = system_sentence(error)
        if sentence is None:
            raise
        return _say(program, sentence, FAILED)


def _say(program: str, sentence: str, status: int) -> int:
    try:
        print(f"{program}: {sentence}", file=sys.stderr)
    except OSError:  # nobody reads that either
        settle_output()
    return status


def _say_ended(program: str, number: int, goes_on: str) -> int:
    """Say once, whatever the number of processes, that a signal ended the work and how to go on."""
    status = 128 + number
    if not is_first_process():
        return status
    return _say(program, f"{ENDED[signal.Signals(number)]}{f': {goes_on}' if goes_on else ''}", status)


def print_any_name() -> None:
    """Let stdout take every file name: bytes that are no text in the terminal's encoding are printed as escapes."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and sys.stdout.errors == "strict":
        reconfigure(errors="backslashreplace")


def settle_output() -> None:
    """Print what is waiting; where a pipe is closed, send it to nowhere, or Python's own end would stumble over it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def system_sentence(error: BaseException) -> str | None:
    """Return what the system refused, and what may mend it; None where the error is a fault of the program."""
    if isinstance(error, OSError):
        return _file_sentence(error)
    if isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error):
        return f"there is not enough memory ({first_line(error)}): use smaller sizes or batches, or another device"
    if DESERTED.search(str(error)):
        return f"another process of this run ended or is silent ({first_line(error)}): see what it says, then resume"
    return None


def _file_sentence(error: OSError) -> str:
    reason: Any = error.strerror or first_line(error)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    mend = ": free some space, then give the same command again" if error.errno in FULL else ""
    return f"{place}{reason}{mend}"
