"""Why methods did not run: one method's failure is one row's."""

from pathlib import Path

import torch

from lua_lightning.errors import UserError
from lua_lightning.files import write_text


class Failures:
    """Why methods did not run, by name; kept in a file, so that a restart and every process know."""

    def __init__(self, folder: Path):
        self.folder = folder / "failures"

    def add(self, method: str, error: Exception) -> str:
        """Note that a method will not run, and return the reason."""
        reason = reason_of(error)
        write_text(self.folder / f"{method}.txt", reason)
        return reason

    def clear(self) -> None:
        """Forget all, so that what failed is tried again."""
        for path in self.folder.glob("*.txt"):
            path.unlink()

    def reasons(self) -> dict[str, str]:
        """Return the reason of each method that failed."""
        return {path.stem: path.read_text() for path in sorted(self.folder.glob("*.txt"))}


def reason_of(error: Exception) -> str:
    """Return why a method failed, in one line."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(error).lower():
        return "out of memory"
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
