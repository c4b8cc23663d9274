"""One process at a time in a folder: the lock is the system's own, so that a kill frees it."""

import contextlib
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lua_lightning.errors import UserError
from lua_lightning.files import write_text

LOCK, HOLDER = "lock", "lock.holder"


class Busy(UserError):
    """Another process holds a folder."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, for this process alone.

    Some file systems of clusters know no locks. A line on stderr then says that nothing guards the folder.

    Raises:
        Busy: Another process holds it; the sentence says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            locked = stack.enter_context(_locked(folder / LOCK, timeout=0))
        except Timeout as error:
            raise Busy(f"{folder} is in use by {_holder(folder)}: wait for it to end, or stop it") from error
        if locked:
            with contextlib.suppress(UserError):  # a full disk: the lock itself is held
                command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
                write_text(folder / HOLDER, f"process {os.getpid()} (`{command}`)")
        yield


def is_held(folder: Path) -> bool:
    """Return whether a process of this machine holds a folder; False too where its lock cannot be tried."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except (OSError, NotImplementedError):  # no locks there, or a folder that this process may only read
        return False


def end_holder(folder: Path) -> None:
    """Send SIGTERM to the process of this machine that holds a folder, if one does."""
    found = re.match(r"process (\d+)\b", _holder(folder))
    if found and is_held(folder):
        with contextlib.suppress(OSError):
            os.kill(int(found[1]), signal.SIGTERM)


def _holder(folder: Path) -> str:
    try:
        return (folder / HOLDER).read_text().strip() or "another process"
    except (OSError, ValueError):
        return "another process"


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Wait until no other process holds the lock file `path`, then hold it.

    Some file systems of clusters know no locks. A line on stderr then says that nothing keeps two processes apart.
    """
    with _locked(path, timeout=-1):
        yield


@contextlib.contextmanager
def _locked(path: Path, timeout: float) -> Iterator[bool]:
    """Hold a lock file, and yield whether the file system knows locks; where not, say so once and go on without."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        print(f"{path.parent} cannot be locked ({reason}): see that no second process works there", file=sys.stderr)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
