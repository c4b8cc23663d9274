"""The generation track: fixed prompts and seeds, every method an image of each; resumable at the image."""

import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from baselines.contract import Method, Start, World
from benchmarks.benchmark import Benchmark, Job
from benchmarks.failures import Failures
from benchmarks.protocol import WARM_UPS
from benchmarks.store import Record, image_path, read, write
from lua_lightning.environment import device_name


def stored(benchmark: Benchmark, job: Job) -> Record | None:
    """Return the record of a job's image, None where the image is not there or other settings made it."""
    return read(benchmark.folder, job.method, job.index, benchmark.fingerprint(job))


def missing_methods(benchmark: Benchmark, jobs: Sequence[Job]) -> list[str]:
    """Return the methods that have images to make, in order."""
    return list(dict.fromkeys(job.method for job in jobs if stored(benchmark, job) is None))


def make_images(
    benchmark: Benchmark,
    world: World,
    jobs: Sequence[Job],
    done: Callable[[Job, Record | None], None] = lambda job, record: None,
) -> None:
    """Make and store the images of `jobs` that are not there yet.

    A method that fails is noted and left out from then on; the others go on.

    Args:
        benchmark: What is measured.
        world: Its generator and adapter, on this process's device.
        jobs: Images in an order that keeps a prompt's together.
        done: Called after each job with its record, None where it failed.
    """
    failures, methods, start = Failures(benchmark.folder), {}, None
    for job in jobs:
        record = stored(benchmark, job)
        if record is None and job.method not in failures.reasons():
            try:
                cold = job.method not in methods
                method = methods[job.method] = methods.get(job.method) or benchmark.method(job.method, world)
                method.check(benchmark.size)
                if method.enlarges and (start is None or (start.prompt, start.seed) != (job.prompt, job.seed)):
                    start = world.start(job.prompt, job.seed, benchmark.base_size)
                begin = start if start is not None and method.enlarges else Start(None, job.prompt, job.seed)
                record = _make(benchmark, method, begin, job, cold)
            except Exception as error:  # whatever one method does, the others' rows must come
                print(f"{job.method}: {failures.add(job.method, error)}", file=sys.stderr)
        done(job, record)


def _make(benchmark: Benchmark, method: Method, start: Start, job: Job, cold: bool) -> Record:
    if cold:
        for _ in range(warm_ups(method)):
            method.run(start, benchmark.size)
    outcome = method.run(start, benchmark.size)
    record = Record(
        job.method,
        job.index,
        job.prompt,
        job.seed,
        benchmark.size,
        benchmark.fingerprint(job),
        outcome.seconds,
        outcome.peak_mib,
        outcome.shared,
        torch.get_num_threads(),
        device_name(),
        warm_ups(method),
    )
    write(benchmark.folder, outcome.image, record)
    return record


def warm_ups(method: Method) -> int:
    """Return how often a method runs before its first counted image: not at all where each image is sampled anew."""
    return 0 if method.needs_prompt else WARM_UPS


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


def records_of(benchmark: Benchmark) -> dict[str, list[Record]]:
    """Return the records of every method whose images are all there."""
    found: dict[str, list[Record]] = {}
    for job in benchmark.jobs():
        record = stored(benchmark, job)
        if record is not None:
            found.setdefault(job.method, []).append(record)
    return {name: records for name, records in found.items() if len(records) == len(benchmark.prompts)}


def paths_of(records: Sequence[Record], folder: Path) -> tuple[Path, ...]:
    """Return the files of a method's images, in the order of prompts."""
    return tuple(image_path(folder, record.method, record.index) for record in records)
