"""`python -m benchmarks SIZE`: every method under the protocol, in a folder, in MLflow and in a report.

Command: make bench-512, bench-1024, bench-2048, bench-4096
"""

import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from baselines.contract import World
from benchmarks.config import PROTOCOL, BenchConfig, resolve
from benchmarks.estimate import estimate, seconds_per_pass, seconds_per_pixel
from benchmarks.generation import (
    PROMPTS,
    Failures,
    Job,
    fingerprint,
    make_images,
    method_marks,
    paths_of,
    plan,
    read_prompts,
    records_of,
    share,
)
from benchmarks.reconstruction import score_methods
from benchmarks.recording import record, tracker_of
from benchmarks.report import COST, cell, columns_of, cost, joined, markdown, page, plot
from benchmarks.scoring import (
    Distributions,
    differences,
    generation_row,
    load_clip,
    reconstruction_rows,
    verdict,
)
from benchmarks.store import Record, read
from lua_lightning.config import load_config, to_yaml
from lua_lightning.environment import run_info
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores
from lua_lightning.evaluation.perceptual import EFFNET
from lua_lightning.evaluation.registry import label_of, metric_of
from lua_lightning.evaluation.rows import LUA, row_of
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.generators.catalogue import GeneratorFacts, find_generator
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.tracking.tracker import MLflowTracker

REMARK = {
    "tiny-sdxl": "numbers of small embedded models on small samples: they compare methods with each other here, and "
    "say nothing of SDXL"
}


WHERE = ("out", "experiment", "devices", "num_nodes")  # settings that no result depends on
TAGS = {"stage": "benchmark", "protocol": PROTOCOL}


def folder_of(config: BenchConfig) -> Path:
    """Return the folder of a benchmark: the same settings go on in the same place."""
    settings = {key: value for key, value in asdict(config).items() if key not in WHERE}
    mark = hashlib.sha256(json.dumps([PROTOCOL, settings], sort_keys=True).encode()).hexdigest()[:8]
    return Path(config.out) / f"{config.size}-{Path(config.generator).name}-{mark}"


def run(
    config: BenchConfig, facts: GeneratorFacts, fabric: Fabric
) -> tuple[dict[str, Any], dict[str, tuple[Path, ...]]] | None:
    """Make what is missing of a benchmark, each process its share.

    Returns:
        The results and the images of each row, in the order of prompts; None but on rank zero.

    Raises:
        UserError: A folder of images made elsewhere holds none; told before anything is made.
    """
    brought = {name: images_in(path) for name, path in config.folders.items()}
    folder, base_size = folder_of(config), facts.base_size(config.size)
    marks = method_marks(config, base_size)
    folder.mkdir(parents=True, exist_ok=True)
    prompts = read_prompts(config.prompts)
    world = World(config.generator, config.adapter, str(fabric.device), config.steps or None)
    if fabric.is_global_zero:
        Failures(folder).clear()
    fabric.barrier()
    jobs = share(plan(config, prompts), fabric.global_rank, fabric.world_size)
    announce(config, facts, world, missing_methods(jobs, marks, folder), len(prompts) // fabric.world_size)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not fabric.is_global_zero) as progress:
        task = progress.add_task(f"{config.size} px", total=len(jobs))
        make_images(config, world, jobs, marks, folder, base_size, lambda job, record: progress.advance(task))
    fabric.barrier()
    if not fabric.is_global_zero:
        return None
    scores = score_methods(config, world, marks, folder, config.size // base_size)
    records = records_of(config, prompts, marks, folder)
    images = {name: paths_of(own, folder) for name, own in records.items()} | brought
    results = {
        "protocol": PROTOCOL,
        **run_info(),
        "generator": facts.name,
        "size": config.size,
        "base_size": base_size,
        "prompts": prompts,
        "remark": REMARK.get(facts.name, ""),
        "config": asdict(config),
        "failures": Failures(folder).reasons(),
        "differences": to_lua(scores),
        "rows": rows_of(config, prompts, records, images, scores),
    }
    return results, images


def log_inputs(config: BenchConfig, parent: MLflowTracker) -> None:
    """Record in MLflow which prompts and photographs the benchmark reads."""
    prompts = "\n".join(read_prompts(config.prompts))
    parent.log_input("prompts", PROMPTS.name, hashlib.sha256(prompts.encode()).hexdigest(), "evaluation")
    parent.log_input("photographs", config.photos, PhotoSet.load(config.photos).sha256, "evaluation")


def missing_methods(jobs: Sequence[Job], marks: Mapping[str, str], folder: Path) -> list[str]:
    """Return the methods that have images to make, in order."""
    missing = {
        job.method: None
        for job in jobs
        if read(folder, job.method, job.index, fingerprint(marks[job.method], job)) is None
    }
    return list(missing)


def announce(config: BenchConfig, facts: GeneratorFacts, world: World, methods: list[str], images: int) -> None:
    """Say on stderr about how long it will take, before it starts."""
    base_size = facts.base_size(config.size)
    one = seconds_per_pass(world, base_size) if methods else None
    if one is not None:
        pixel = seconds_per_pixel(config, world, methods, config.size // base_size)
        crops = config.crops_per_photo * len(PhotoSet.load(config.photos).split("test"))
        minutes = estimate(config, facts, methods, max(1, images), crops, one, pixel) / 60
        text = f"{images} images by each of {len(methods)} methods: about {max(1, round(minutes))} min"
        Console(stderr=True).print(text, highlight=False)


def to_lua(scores: dict[str, list[CropScores]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, for every rival, the adapter minus the rival in each paired metric, with interval and verdict."""
    if LUA not in scores:
        return {}
    found = {}
    for name in scores:
        if name != LUA and row_of(name).competes:
            own = differences(scores, LUA, name)
            found[name] = {metric: asdict(value) | {"lua_is": verdict(metric, value)} for metric, value in own.items()}
    return found


def rows_of(
    config: BenchConfig,
    prompts: Sequence[str],
    records: Mapping[str, Sequence[Record]],
    images: Mapping[str, tuple[Path, ...]],
    scores: dict[str, list[CropScores]],
) -> list[dict[str, Any]]:
    """Return the rows of both tracks; images made elsewhere have no records."""
    distributions, clip = Distributions(config), load_clip(config)
    return reconstruction_rows(scores, config.size) + [
        generation_row(name, files, prompts, records.get(name), config.size, distributions, clip)
        for name, files in images.items()
    ]


def images_in(path: str) -> tuple[Path, ...]:
    """Return the images of a user's folder, by name.

    Raises:
        UserError: It holds none.
    """
    files = tuple(sorted(file for file in Path(path).glob("*") if file.suffix.lower() in (".png", ".jpg", ".webp")))
    if not files:
        raise UserError(f"{path} holds no PNG, JPEG or WebP images: give a folder of images, in the order of prompts")
    return files


def write(results: Mapping[str, Any], images: Mapping[str, Sequence[Path]], folder: Path) -> dict[str, Path]:
    """Write results, table, plot and report, and return where they are."""
    paths = {
        "results": folder / "results.json",
        "table": folder / "results.md",
        "plot": folder / "fidelity.png",
        "report": folder / "report.html",
    }
    paths["results"].write_text(json.dumps(results, indent=1) + "\n")
    paths["table"].write_text(markdown(results))
    metric = next((name for name in ("psnr", EFFNET, "patch-kid/effnet-lite0") if joined(results, name)), None)
    if metric:
        plot(results, metric).savefig(paths["plot"])
    paths["report"].write_text(page(results, images, results["prompts"], paths["plot"]))
    return paths


def print_card(results: Mapping[str, Any]) -> None:
    """Print both tracks on stderr."""
    console = Console(stderr=True)
    for track in ("reconstruction", "generation"):
        rows = [row for row in results["rows"] if row["track"] == track]
        names = [name for name in columns_of(rows) if metric_of(name).key not in ("fid", "patch-fid")][:4]
        costs = COST if track == "generation" else ()
        heads = [label_of(name) for name in (*names, *costs)]
        table = plain_table(f"{track}, {results['size']} px", "method", heads)
        for row in rows:
            cells = [cell(row, name, interval=False) for name in names]
            table.add_row(row["method"], *cells, *(cost(row) if costs else ()))
        console.print(table)
    for name, reason in results["failures"].items():
        console.print(f"{name}: {reason}")
    if results["remark"]:
        console.print(f"These are {results['remark']}.")


def main(arguments: list[str] | None = None) -> int:
    """Run a benchmark; the last line of stdout is one JSON object."""
    overrides = list(sys.argv[1:] if arguments is None else arguments)
    if overrides and overrides[0].isdigit():
        overrides[0] = f"size={overrides[0]}"
    started = time.perf_counter()
    try:
        config = load_config(BenchConfig, None, overrides)
        facts = find_generator(config.generator)
        config = resolve(config, facts)
        folder = folder_of(config)
        fabric = Fabric(devices=config.devices, num_nodes=config.num_nodes)
        fabric.launch()
        with tracker_of(config, folder, f"bench-{config.size}", TAGS) as parent:
            parent.log_run_start(to_yaml(config))
            log_inputs(config, parent)
            done = run(config, facts, fabric)
            if done is None:
                return 0
            results, images = done
            paths = write(results, images, folder)
            record(results, images, paths, config, folder, parent)
            run_id = parent.run_id
    except UserError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    print_card(results)
    line = {key: results[key] for key in ("protocol", "generator", "size", "device")}
    line |= {"results": str(paths["results"]), "report": str(paths["report"]), "run_id": run_id}
    print(json.dumps({**line, "seconds": round(time.perf_counter() - started, 1)}))
    return 0
