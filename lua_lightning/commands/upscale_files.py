"""Enlarge picture files: one, or many of which the next is read and the last is written while one is computed."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lua_lightning.commands.guard import settle_output, system_sentence
from lua_lightning.commands.outputs import free_bytes, refuse_existing
from lua_lightning.errors import UserError, first_line
from lua_lightning.sizes import Plan, Target

if TYPE_CHECKING:
    from PIL import Image

    from lua_lightning.pictures import Picture
    from lua_lightning.upscaling import Way

MOST_BYTES = 4  # of a stored pixel


@dataclass(frozen=True)
class Job:
    """One picture to enlarge."""

    source: Path
    """Where it is."""
    output: Path
    """Where its enlargement belongs."""


def room_for(way: "Way", job: Job, wanted: Target, beside: int = 0) -> tuple[Plan, int]:
    """Return how a picture is enlarged, and about how many bytes of memory that needs.

    Args:
        way: What enlarges it.
        job: The picture, whose size alone is read.
        wanted: The size that is asked for.
        beside: Bytes of memory that something else will need at the same time.

    Raises:
        UserError: The file cannot be used, or memory or disk have no room for its enlargement.
    """
    from lua_lightning.environment import memory
    from lua_lightning.pictures import UnusableImage, picture_size

    width, height = picture_size(job.source)
    plan = way.plan(width, height, wanted, what=str(job.source))
    needed = way.memory_needed(width, height, plan)
    for kind, bytes_needed, free in (
        ("memory", needed + beside, memory()[0]),
        ("disk space", plan.size[0] * plan.size[1] * MOST_BYTES, free_bytes(job.output)),
    ):
        if bytes_needed > free:
            sizes = f"about {bytes_needed / 2**30:.1f} GiB of {kind}, and {free / 2**30:.1f} GiB are free"
            raise UnusableImage(job.source, f"is too large: {shown_size(plan.enlarged)} pixels may need {sizes}")
    return plan, needed


def read(job: Job) -> "Picture":
    """Return the picture of a job.

    Raises:
        UserError: It cannot be read.
    """
    from lua_lightning.pictures import read_picture

    return read_picture(job.source)


def enlarge(way: "Way", job: Job, plan: Plan, picture: "Picture") -> tuple["Image.Image", str]:
    """Return the enlarged picture, and a line that says what was made and how long it took."""
    from lua_lightning.pictures import writer_of

    started, remark = time.perf_counter(), ""
    height, width = picture.pixels.shape[:2]
    if picture.alpha is not None and not writer_of(job.output).holds_alpha:
        picture, remark = type(picture)(picture.on_white()), "; its transparency was put on white, for JPEG holds none"
    image, loss = way.enlarge(picture, plan)
    seconds = time.perf_counter() - started
    sizes = f"{shown_size((width, height))} -> {shown_size(plan.size)}"
    return image, f"{job.output}: {sizes} in {seconds:.1f} s{loss}{remark}"


def write(job: Job, image: "Image.Image") -> None:
    """Write the enlarged picture of a job.

    Raises:
        UserError: It cannot be written.
    """
    from lua_lightning.images import write_image

    write_image(job.output, image)


def upscale_file(way: "Way", job: Job, wanted: Target) -> str:
    """Enlarge one file and return a line that says what was made and how long it took.

    Raises:
        UserError: The file cannot be used, or memory or disk have no room for its enlargement.
    """
    plan, _ = room_for(way, job, wanted)
    image, line = enlarge(way, job, plan, read(job))
    write(job, image)
    return line


class FolderUpscaler:
    """Enlarges one file after the other; one file never stops the others.

    While a picture is computed one thread reads the next and another writes the last. The next is read ahead only
    where memory has room for both; where it has none, a picture waits until the last one is written.

    Args:
        way: What enlarges them.
        wanted: The size that is asked for.
        overwrite: Whether results that are there already are replaced.
    """

    def __init__(self, way: "Way", wanted: Target, overwrite: bool) -> None:
        self.way, self.wanted, self.overwrite = way, wanted, overwrite
        self._ahead: tuple[Job, Future[Picture]] | None = None
        self._written: tuple[Job, str, Future[None]] | None = None
        self._skipped: dict[Job, str] = {}

    def run(self, work: Sequence[Job]) -> list[str]:
        """Enlarge every file and return what could not be, each with its reason, in their order."""
        from rich.console import Console
        from rich.progress import track

        self._reader, self._writer = (ThreadPoolExecutor(1, thread_name_prefix=name) for name in ("read", "write"))
        jobs = track(work, "upscaling", console=Console(stderr=True), disable=len(work) == 1)
        try:
            for job, following in zip(jobs, [*work[1:], None], strict=True):
                self._attempt(job, lambda job=job, following=following: self._turn(job, following))
        finally:  # also after a signal: what is being written comes to its end, and is told
            self._reader.shutdown(wait=True, cancel_futures=True)
            self._writer.shutdown(wait=True)
            self._finish()
        return [self._skipped[job] for job in work if job in self._skipped]

    def _attempt(self, job: Job, step: Callable[[], object]) -> None:
        try:
            step()
        except UserError as error:
            self._skipped[job] = str(error)
        except Exception as error:  # whatever one picture does, the others' turn comes
            self._skipped[job] = f"{job.source}: {system_sentence(error) or first_line(error)}"

    def _turn(self, job: Job, following: Job | None) -> None:
        """Compute one picture, and hand it to the thread that writes."""
        ahead, self._ahead = self._ahead, None
        if not self.overwrite:
            refuse_existing([job.output], "it was made meanwhile, and stays")
        plan, needed = self._room(job)
        picture = ahead[1].result() if ahead is not None and ahead[0] is job else read(job)
        if following is not None:
            self._read_ahead(following, needed)
        image, line = enlarge(self.way, job, plan, picture)
        self._finish()
        self._written = job, line, self._writer.submit(write, job, image)

    def _room(self, job: Job) -> tuple[Plan, int]:
        try:
            return room_for(self.way, job, self.wanted)
        except UserError:
            if self._written is None:
                raise
        self._finish()  # the last picture may take the memory that this one needs
        return room_for(self.way, job, self.wanted)

    def _read_ahead(self, job: Job, beside: int) -> None:
        try:
            room_for(self.way, job, self.wanted, beside)
        except Exception:  # said when its turn comes, where it has a reason of its own
            return
        self._ahead = job, self._reader.submit(read, job)

    def _finish(self) -> None:
        """Wait for the picture that is being written, and tell of it."""
        if self._written is None:
            return
        job, line, future = self._written
        wait([future])  # a signal may come here: the picture is told of nevertheless
        self._written = None
        self._attempt(job, future.result)
        if job not in self._skipped:
            tell(line)


def shown_size(size: tuple[int, int]) -> str:
    """Return a width and height as text."""
    return f"{size[0]}x{size[1]}"


def tell(line: str) -> None:
    """Print a line now; where nobody reads it any more, the work goes on in silence."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        settle_output()
