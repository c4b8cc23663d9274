"""The one way to write a file: beside its place, through to the disk, then into its place in one step."""

import contextlib
import functools
import hashlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lua_lightning.errors import UserError, first_line

if TYPE_CHECKING:  # importing torch takes seconds, and `python -m data` often needs none
    from torch import Tensor

PARTIAL = ".partial"
NAME_BYTES = 120  # of the target's name in that of its partial file: a name may have 255
FORGOTTEN_SECONDS = 24 * 3600  # after which a partial file of another machine is left over too
_TOKEN = uuid.uuid4().hex[:8]
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to; the file takes its place when the block ends without an error.

    A reader never sees half a file, and a kill, a full disk or a power cut leaves the file that was there. The new file
    has the old one's permissions, or a new file's usual ones. What killed processes left half written in the same
    folder is cleared away.

    Raises:
        UserError: The file cannot be written; nothing has changed then.
    """
    partial: Path | None = None
    try:
        target = Path(path).resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        _clear_left_overs(target.parent)
        partial = _partial_of(target)
        partial.touch()
        mode = (target if target.exists() else partial).stat().st_mode  # a library's writer may make it private
        yield partial
        partial.chmod(mode)
        _flush(partial)
        os.replace(partial, target)
        _flush_folder(target.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be written ({reason}): make room there, or name another place") from error
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a whole file; see `replacing`."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a whole file of UTF-8 text; see `replacing`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> None:
    """Write a whole JSON file; see `replacing`."""
    write_text(path, json.dumps(content, indent=indent) + "\n")


def append_json(path: str | Path, content: Any) -> None:
    """Add a line of JSON to a file, through to the disk; what a kill left of a line before ends there.

    Raises:
        UserError: The line cannot be written.
    """
    try:
        with Path(path).open("ab+") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            broken = file.read(1) not in (b"", b"\n")
            file.write(b"\n" * broken + json.dumps(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} cannot be written ({reason}): make room there, or name another place") from error


def write_tensors(path: str | Path, tensors: Mapping[str, "Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Write a whole safetensors file; see `replacing`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as partial:
        try:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
        except SafetensorError as error:  # its writer knows a full disk by this name
            raise OSError(first_line(error)) from error


def write_torch(path: str | Path, content: Any, keep: Path | None = None) -> None:
    """Write a whole file with `torch.save`; see `replacing`.

    Args:
        path: The file.
        content: What `torch.save` takes.
        keep: What the file that was there becomes; None lets it go.
    """
    import torch

    with replacing(path) as partial:
        try:
            torch.save(content, partial)
        except RuntimeError as error:  # likewise
            raise OSError(f"the disk did not take all of it: {first_line(error)}") from error
        if keep is not None and Path(path).exists():
            os.replace(path, keep)


def is_running(process: int) -> bool:
    """Return whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _partial_of(target: Path) -> Path:
    name = os.fsdecode(os.fsencode(target.name)[:NAME_BYTES])
    return target.with_name(f".{name}.{_HOST}-{os.getpid()}-{_TOKEN}-{threading.get_ident()}{PARTIAL}")


@functools.lru_cache(maxsize=1024)
def _clear_left_overs(folder: Path) -> None:
    """Delete the partial files of killed processes; once for each folder, since listing a large one takes time."""
    for path in folder.glob(f".*{PARTIAL}"):
        mark = path.name.removesuffix(PARTIAL).rpartition(".")[2].split("-")
        with contextlib.suppress(OSError):
            if len(mark) == 4 and mark[1].isdigit() and _is_left_over(path, mark[0], int(mark[1]), mark[2]):
                path.unlink()


def _is_left_over(path: Path, host: str, process: int, token: str) -> bool:
    if host != _HOST:
        return time.time() - path.stat().st_mtime > FORGOTTEN_SECONDS
    return token != _TOKEN if process == os.getpid() else not is_running(process)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Let a rename reach the disk; some file systems have no such thing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
