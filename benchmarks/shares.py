"""What each process of a benchmark has done: the first waits for the others' files, however long they take."""

import time
from pathlib import Path

from lua_lightning.files import write_text

SECONDS = 1.0  # between two looks


class Shares:
    """Which processes have made their share of the images, told by files in the benchmark's folder.

    A collective would end in a time-out where one process has hours of work left and another none, as after a kill.

    Args:
        folder: The benchmark's, which all processes see.
    """

    def __init__(self, folder: Path):
        self.folder = folder / "shares"

    def clear(self) -> None:
        """Forget what processes of an earlier start have done."""
        for path in self.folder.glob("*.done"):
            path.unlink()

    def done(self, process: int) -> None:
        """Note that a process has made its share."""
        write_text(self.folder / f"{process}.done", "")

    def wait(self, processes: int) -> None:
        """Wait until all processes have made theirs; whoever started them ends this one where one of them dies."""
        while not all((self.folder / f"{process}.done").is_file() for process in range(processes)):
            time.sleep(SECONDS)
