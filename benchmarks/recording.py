"""A benchmark in MLflow: one parent run, one child run per method, so that the compare view answers the question."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.benchmark import Benchmark
from benchmarks.config import WHERE, BenchConfig, profile_of
from benchmarks.protocol import PROMPTS, SCORED, VERSION
from lua_lightning.config import to_yaml
from lua_lightning.evaluation.rows import LUA
from lua_lightning.pictures import read_image
from lua_lightning.tracking.names import PLACES, plain_name, run_name
from lua_lightning.tracking.tracker import MLflowTracker

SHOWN_SIDE = 512  # pixels of the images that are logged
LISTED = 3  # entries of a setting that a run's name holds
ENDS = ("value", "low", "high")


def parent_tracker(benchmark: Benchmark) -> MLflowTracker:
    """Return the tracker of the run that is open for the whole benchmark."""
    return _tracker(benchmark, f"bench-{benchmark.size}", f"bench-{benchmark.size}", {})


def _tracker(benchmark: Benchmark, name: str, shown: str, tags: Mapping[str, str]) -> MLflowTracker:
    """Return the tracker of a run, which goes on with the one that the benchmark's folder knows.

    Args:
        benchmark: What is measured.
        name: Of the run's folder.
        shown: The run's name in MLflow, before the settings that differ from the defaults.
        tags: Of the run, beside the usual ones.
    """
    folder = benchmark.folder / "mlflow" / name
    folder.mkdir(parents=True, exist_ok=True)
    return MLflowTracker(
        benchmark.config.experiment,
        run_name(shown, changed(benchmark)),
        folder,
        tags={"stage": "benchmark", "folder": benchmark.folder.as_posix(), "protocol": VERSION, **tags},
        system_metrics=False,
    )


def changed(benchmark: Benchmark) -> list[str]:
    """Return the settings of a benchmark that are not its size's defaults, short enough for a name."""
    profile = profile_of(benchmark.facts, benchmark.size)
    counts = {"prompts": profile.prompts, "steps": profile.steps or 0, "crops_per_photo": profile.crops_per_photo}
    usual = asdict(replace(BenchConfig(size=benchmark.size), **counts))
    found = []
    for key, value in asdict(benchmark.config).items():
        if key in (*WHERE, *PLACES) or value == usual[key]:
            continue
        if isinstance(value, (tuple, list)):
            text = ",".join(value) if len(value) <= LISTED else f"{len(value)} of {len(usual[key])}"
        elif isinstance(value, dict):
            text = ",".join(value)
        else:
            text = Path(value).name if isinstance(value, str) else str(value)
        found.append(f"{key}={text}")
    return found


def log_inputs(benchmark: Benchmark, parent: MLflowTracker) -> None:
    """Record in MLflow the settings, and which prompts and photographs the benchmark reads."""
    parent.log_run_start(to_yaml(benchmark.config))
    prompts = "\n".join(benchmark.prompts)
    name = Path(benchmark.config.prompts_file or PROMPTS).name
    parent.log_input("prompts", name, hashlib.sha256(prompts.encode()).hexdigest(), "evaluation")
    parent.log_input("photographs", benchmark.config.photos, benchmark.photos.sha256, "evaluation")


def metrics_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return a row's numbers under MLflow's names, such as `bench/512/psnr` and `bench/512/seconds/upscale`."""
    prefix = f"bench/{row['size']}"
    values = {}
    for name, entry in row["metrics"].items():
        if "value" in entry:
            values[f"{prefix}/{name}"] = entry["value"]
        for edge in ("low", "high"):
            if edge in entry:
                values[f"{prefix}/{name}/{edge}"] = entry[edge]
    for phase, seconds in row.get("seconds", {}).items():
        values[f"{prefix}/seconds/{phase}"] = seconds
    if "peak_memory_mib" in row:
        values[f"{prefix}/peak_memory_mib"] = row["peak_memory_mib"]
    return values


def deciding(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers that the parent run carries, so that a list of benchmarks answers which method.

    They are the scored metrics of every method, `bench/512/lua/psnr`, and the adapter's paired differences,
    `bench/512/lua-minus-swinir/psnr` with `/low` and `/high`.
    """
    prefix, values = f"bench/{results['size']}", {}
    for row in results["rows"]:
        wanted = {f"{prefix}/{name}" for name in SCORED} | {f"{prefix}/seconds/total"}
        method = plain_name(row["method"])
        numbers = {name: value for name, value in metrics_of(row).items() if name in wanted}
        values |= {f"{prefix}/{method}/{name.removeprefix(prefix + '/')}": value for name, value in numbers.items()}
    for other, metrics in results["differences"].items():
        for name, entry in metrics.items():
            if name not in SCORED:
                continue
            place = f"{prefix}/{LUA}-minus-{plain_name(other)}/{name}"
            values |= {place + ("" if end == "value" else f"/{end}"): entry[end] for end in ENDS if end in entry}
    return values


def record(
    results: Mapping[str, Any],
    images: Mapping[str, Sequence[Path]],
    paths: Mapping[str, Path],
    benchmark: Benchmark,
    parent: MLflowTracker,
) -> None:
    """Send the results: files to the parent run, numbers and images to a child run of each method.

    Args:
        results: As `results.json` holds them.
        images: Files of each method, in the order of prompts; each prompt is a step of the image's slider.
        paths: Files that were written.
        benchmark: What was measured; each run's records wait in its folder until they are sent.
        parent: The run that is open for the whole benchmark.
    """
    for path in paths.values():
        if path.is_file():
            parent.log_artifact(path)
    parent.log_metrics(deciding(results))
    parent.log_text("\n".join(results["prompts"]) + "\n", "prompts.txt")
    for name in dict.fromkeys(row["method"] for row in results["rows"]):
        tags = {"method": name}
        if parent.run_id:
            tags["mlflow.parentRunId"] = parent.run_id
        with _tracker(benchmark, name, f"{name} {benchmark.size}", tags) as child:
            child.log_hyperparams({"method": name, "size": benchmark.size, "generator": benchmark.config.generator})
            numbers: dict[str, float] = {}
            for row in results["rows"]:
                if row["method"] == name:
                    numbers |= metrics_of(row)
            child.log_metrics(numbers)
            for index, path in enumerate(images.get(name, ())):
                child.log_image(f"bench/{benchmark.size}", reduced(path), index)


def reduced(path: Path) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3), no side above `SHOWN_SIDE`."""
    whole = Image.fromarray(read_image(path))
    whole.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(whole)
