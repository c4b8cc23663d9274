"""What stands around every command: an end that nobody planned is one line and an exit status, never a traceback."""

import errno
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

from lua_lightning.errors import UserError, first_line

REFUSED, FAILED, INTERRUPTED, CUT_OFF = 2, 1, 130, 141  # the last two are 128 + SIGINT and 128 + SIGPIPE, as in a shell
FULL = (errno.ENOSPC, errno.EDQUOT)


def guarded(program: str, work: Callable[[], int | None]) -> int:
    """Run `work` and return the exit status.

    Args:
        program: What the user typed, which opens each line.
        work: Returns the status; None is success.

    Returns:
        The status of `work`; 2 after a mistake of the user, 1 where the system refused something (a full disk, a
        read-only folder, no memory), 130 after Ctrl-C, 141 where nobody reads the output any more.
    """
    print_any_name()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what Pillow thinks of metadata; damage is an error of ours
    try:
        status = work() or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        return _say(program, str(error), REFUSED)
    except SystemExit:  # help and version end like this
        settle_output()
        raise
    except KeyboardInterrupt as error:
        return _say(program, f"interrupted{f': {error}' if str(error) else ''}", INTERRUPTED)
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
    return None


def _file_sentence(error: OSError) -> str:
    reason: Any = error.strerror or first_line(error)
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    mend = ": free some space, then give the same command again" if error.errno in FULL else ""
    return f"{place}{reason}{mend}"
