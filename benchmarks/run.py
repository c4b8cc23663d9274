"""Measure a benchmark: every method under the protocol, in a folder, in MLflow and in a report."""

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from baselines.contract import World
from benchmarks.benchmark import Benchmark, resolve
from benchmarks.config import BenchConfig
from benchmarks.estimate import announce
from benchmarks.failures import Failures
from benchmarks.fairness import audit
from benchmarks.finished import with_votes
from benchmarks.generation import make_images, missing_methods, paths_of, records_of
from benchmarks.protocol import VERSION
from benchmarks.reconstruction import score_methods
from benchmarks.recording import log_inputs, parent_tracker, record
from benchmarks.report import print_card, write_report
from benchmarks.scoring import all_differences, differences_to_lua, generation_rows, reconstruction_rows
from benchmarks.shares import Shares
from lua_lightning.config import load_config
from lua_lightning.environment import run_info
from lua_lightning.locks import alone
from lua_lightning.processes import together
from lua_lightning.signals import is_first_process

REMARK = {
    "tiny-sdxl": "numbers of small embedded models on small samples: they compare methods with each other here, and "
    "say nothing of SDXL"
}

Measured = tuple[dict[str, Any], dict[str, tuple[Path, ...]]]


def run(overrides: Sequence[str]) -> int:
    """Resolve, measure, report and record a benchmark; the last line of stdout is one JSON object.

    Raises:
        UserError: A setting is wrong, or another process makes the same benchmark.
    """
    started = time.perf_counter()
    benchmark = resolve(load_config(BenchConfig, None, list(overrides)))
    first = is_first_process()  # of several, which begin after this one or with it
    with alone(benchmark.folder) if first else contextlib.nullcontext(), parent_tracker(benchmark) as parent:
        fabric = Fabric(devices=benchmark.config.devices, num_nodes=benchmark.config.num_nodes)
        fabric.launch()
        log_inputs(benchmark, parent)
        with together(benchmark.folder, fabric.world_size, lambda: parent.finalize("failed")):
            measured = measure(benchmark, fabric)
        if measured is None:
            return 0
        results, images = measured
        paths = write_report(results, images, benchmark.folder)
        record(results, images, paths, benchmark, parent)
    print_card(results)
    line = {key: results[key] for key in ("protocol", "generator", "size", "device")}
    line |= {"results": str(paths["results"]), "report": str(paths["report"]), "run_id": parent.run_id}
    print(json.dumps({**line, "seconds": round(time.perf_counter() - started, 1)}))
    return 0


def measure(benchmark: Benchmark, fabric: Fabric) -> Measured | None:
    """Make what is missing of a benchmark, each process its share, and score it.

    Returns:
        The results and the images of each row, in the order of prompts; None but on rank zero.
    """
    world = benchmark.world(str(fabric.device))
    generate(benchmark, world, fabric)  # prompts -> latents -> method -> images
    if not fabric.is_global_zero:
        return None
    scores = score_methods(benchmark, world)  # photographs -> latents -> method -> images -> scores
    records = records_of(benchmark)
    images = {name: paths_of(taken, benchmark.folder) for name, taken in records.items()} | dict(benchmark.brought)
    images |= {name: tuple(image.file for image in brought) for name, brought in benchmark.timed.items()}
    rows = reconstruction_rows(scores, benchmark.size)  # scores -> metrics
    rows += generation_rows(benchmark, images, records, world.device)  # images -> features -> metrics
    results = {
        "protocol": VERSION,
        **run_info(),
        "generator": benchmark.facts.name,
        "size": benchmark.size,
        "base_size": benchmark.base_size,
        "prompts": list(benchmark.prompts),
        "photos_sha256": benchmark.photos.sha256,
        "remark": REMARK.get(benchmark.facts.name, ""),
        "config": asdict(benchmark.config),
        "failures": Failures(benchmark.folder).reasons(),
        "differences": differences_to_lua(scores),
        "pairs": all_differences(scores),
        "fairness": audit(benchmark, records, rows, world.device),
        "rows": rows,
    }
    return with_votes(results, benchmark.folder), images


def generate(benchmark: Benchmark, world: World, fabric: Fabric) -> None:
    """Make this process's share of the images; the first process then waits until all have made theirs."""
    shares = Shares(benchmark.folder)
    if fabric.is_global_zero:
        Failures(benchmark.folder).clear()
        shares.clear()
    fabric.barrier()
    jobs = benchmark.jobs(fabric.global_rank, fabric.world_size)
    announce(benchmark, world, missing_methods(benchmark, jobs), len(benchmark.prompts) // fabric.world_size)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not fabric.is_global_zero) as progress:
        task = progress.add_task(f"{benchmark.size} px", total=len(jobs))
        make_images(benchmark, world, jobs, lambda job, record: progress.advance(task))
    shares.done(fabric.global_rank)
    if fabric.is_global_zero:
        shares.wait(fabric.world_size)
