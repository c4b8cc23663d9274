"""A benchmark in MLflow: one parent run, one child run per method, so that the compare view answers the question."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.config import BenchConfig
from lua_lightning.tracking.spool import stored_run_id
from lua_lightning.tracking.tracker import MLflowTracker

SHOWN_SIDE = 512  # pixels of the images that are logged


def tracker_of(config: BenchConfig, folder: Path, name: str, tags: Mapping[str, str]) -> MLflowTracker:
    """Return the tracker of a benchmark's run, which goes on with the one that `folder` knows."""
    own = folder / "mlflow" / name
    own.mkdir(parents=True, exist_ok=True)
    return MLflowTracker(config.experiment, name, own, tags=dict(tags), run_id=stored_run_id(own), system_metrics=False)


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


def record(
    results: Mapping[str, Any],
    images: Mapping[str, Sequence[Path]],
    paths: Mapping[str, Path],
    config: BenchConfig,
    folder: Path,
    parent: MLflowTracker,
) -> None:
    """Send the results: files to the parent run, numbers and images to a child run of each method.

    Args:
        results: As `results.json` holds them.
        images: Files of each method, in the order of prompts; each prompt is a step of the image's slider.
        paths: Files that were written.
        config: Of the benchmark.
        folder: Of the benchmark, where each run's records wait until they are sent.
        parent: The run that is open for the whole benchmark.
    """
    for path in paths.values():
        if path.is_file():
            parent.log_artifact(path)
    parent.log_text("\n".join(results["prompts"]) + "\n", "prompts.txt")
    for name in dict.fromkeys(row["method"] for row in results["rows"]):
        tags = {"method": name, "stage": "benchmark", "protocol": results["protocol"]}
        if parent.run_id:
            tags["mlflow.parentRunId"] = parent.run_id
        with tracker_of(config, folder, name, tags) as child:
            child.log_hyperparams({"method": name, "size": config.size, "generator": config.generator})
            numbers: dict[str, float] = {}
            for row in results["rows"]:
                if row["method"] == name:
                    numbers |= metrics_of(row)
            child.log_metrics(numbers)
            for index, path in enumerate(images.get(name, ())):
                child.log_image(f"bench/{config.size}", reduced(path), index)


def reduced(path: Path) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3), no side above `SHOWN_SIDE`."""
    with Image.open(path) as image:
        whole = image.convert("RGB")
    whole.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(whole)
