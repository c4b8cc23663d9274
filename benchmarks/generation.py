"""The generation track: fixed prompts and seeds, every method an image of each; resumable at the image."""

import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from baselines.contract import Method, Start, World
from baselines.registry import build_method, method_class
from benchmarks.config import BenchConfig
from benchmarks.store import Record, image_path, read, write
from lua_lightning.errors import UserError
from lua_lightning.models.pretrained import weights_mark

PROMPTS = Path(__file__).parent / "prompts.txt"
WARM_UPS = 1  # runs of a method before its first image, where it has no diffusion pass of its own


@dataclass(frozen=True)
class Job:
    """One image to make."""

    method: str
    index: int
    prompt: str
    seed: int


def read_prompts(count: int, path: Path = PROMPTS) -> list[str]:
    """Return the first `count` prompts, one to a line.

    Raises:
        UserError: The file has fewer.
    """
    prompts = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    if count > len(prompts):
        raise UserError(f"{path} has {len(prompts)} prompts, and {count} are asked for: lower prompts")
    return prompts[:count]


def plan(config: BenchConfig, prompts: Sequence[str]) -> list[Job]:
    """Return all images of a benchmark, those of one prompt together, since they share its base latents."""
    return [
        Job(method, index, prompt, config.seed + index)
        for index, prompt in enumerate(prompts)
        for method in config.methods
    ]


def share(jobs: Sequence[Job], rank: int, processes: int) -> list[Job]:
    """Return the jobs of one of several processes: whole prompts, so that base latents are sampled once."""
    return [job for job in jobs if job.index % processes == rank]


def method_marks(config: BenchConfig, base_size: int) -> dict[str, str]:
    """Return, by method, a hash of what determines its images beside prompt and seed: settings and weights.

    Raises:
        UserError: A method's settings are wrong.
    """
    world, marks = World(config.generator, config.adapter), {}
    for name in config.methods:
        settings = config.settings.get(name, [])
        weights = [weights_mark(source) for source in build_method(name, world, settings).sources]
        marks[name] = _hash([name, config.size, base_size, config.steps, sorted(settings), weights])
    return marks


def fingerprint(mark: str, job: Job) -> str:
    """Return a hash of what determines the image of a job, whose method has this mark."""
    return _hash([mark, job.prompt, job.seed])


def _hash(content: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


class Failures:
    """Why methods did not run, by name; kept in a file, so that a restart and every process know."""

    def __init__(self, folder: Path):
        self.folder = folder / "failures"

    def add(self, method: str, reason: str) -> None:
        """Note that a method will not run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{method}.txt").write_text(reason)

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


def make_images(
    config: BenchConfig,
    world: World,
    jobs: Sequence[Job],
    marks: Mapping[str, str],
    folder: Path,
    base_size: int,
    done: Callable[[Job, Record | None], None] = lambda job, record: None,
) -> None:
    """Make and store the images of `jobs` that are not there yet.

    A method that fails is noted and left out from then on; the others go on.

    Args:
        config: The benchmark.
        world: Its generator and adapter.
        jobs: In an order that keeps a prompt's together.
        marks: Of the methods, see `method_marks`.
        folder: Of the benchmark.
        base_size: Side in pixels of the images that are enlarged.
        done: Called after each job with its record, None where it failed.
    """
    failures, methods, start, warm = Failures(folder), {}, None, set()
    for job in jobs:
        mark = fingerprint(marks[job.method], job)
        record = read(folder, job.method, job.index, mark)
        if record is None and job.method not in failures.reasons():
            try:
                if job.method not in methods:
                    methods[job.method] = build_method(job.method, world, config.settings.get(job.method, []))
                method = methods[job.method]
                method.check(config.size)
                if method.enlarges and (start is None or (start.prompt, start.seed) != (job.prompt, job.seed)):
                    start = world.start(job.prompt, job.seed, base_size)
                own = start if method.enlarges else Start(None, job.prompt, job.seed)
                assert own is not None
                record = _make(method, own, job, config, mark, folder, job.method not in warm)
                warm.add(job.method)
            except Exception as error:  # whatever one method does, the others' rows must come
                failures.add(job.method, reason_of(error))
                print(f"{job.method}: {reason_of(error)}", file=sys.stderr)
        done(job, record)


def _make(method: Method, start: Start, job: Job, config: BenchConfig, mark: str, folder: Path, cold: bool) -> Record:
    if cold and not method.needs_prompt:
        for _ in range(WARM_UPS):
            method.run(start, config.size)
    outcome = method.run(start, config.size)
    record = Record(
        job.method,
        job.index,
        job.prompt,
        job.seed,
        config.size,
        mark,
        outcome.seconds,
        outcome.peak_mib,
        outcome.shared,
    )
    write(folder, outcome.image, record)
    return record


def summary(records: Sequence[Record]) -> dict[str, Any]:
    """Return the median seconds of each phase over a method's images, their sum, spread and the peak of memory."""
    phases = records[0].seconds
    seconds = {phase: statistics.median(record.seconds[phase] for record in records) for phase in phases}
    totals = [sum(record.seconds.values()) for record in records]
    return {
        "seconds": {**seconds, "total": statistics.median(totals)},
        "seconds_spread": {"low": min(totals), "high": max(totals)},
        "peak_memory_mib": max(max(record.peak_mib.values()) for record in records),
        "shared": list(records[0].shared),
    }


def records_of(
    config: BenchConfig, prompts: Sequence[str], marks: Mapping[str, str], folder: Path
) -> dict[str, list[Record]]:
    """Return the records of every method whose images are all there."""
    found: dict[str, list[Record]] = {}
    for job in plan(config, prompts):
        record = read(folder, job.method, job.index, fingerprint(marks[job.method], job))
        if record is not None:
            found.setdefault(job.method, []).append(record)
    return {name: records for name, records in found.items() if len(records) == len(prompts)}


def paths_of(records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Return the files of a method's images, in the order of prompts."""
    return tuple(image_path(folder, record.method, record.index) for record in records)


def enlarging(names: Sequence[str]) -> list[str]:
    """Return the methods that can enlarge a photograph without a prompt."""
    return [name for name in names if not method_class(name).needs_prompt and name != "native"]
