"""The methods that need no training as runs of their own in MLflow, under the adapter's names of metrics.

A chart of `val/x2/psnr` then shows them on the adapter's axes, as flat lines.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lua_lightning.config import RunConfig
from lua_lightning.evaluation.rows import trained_rows
from lua_lightning.tracking.tracker import MLflowTracker

FOLDER = "baselines"  # inside a run's


def baseline_numbers(results: Mapping[str, Any], suffix: str) -> dict[str, float]:
    """Return a row's closing numbers under the adapter's names: `val/x2/psnr` from `val/x2/psnr_bicubic`.

    Args:
        results: The closing numbers of a training.
        suffix: Of the row's names, such as `_bicubic`.
    """
    names = {name.removesuffix(suffix): name for name in results if name.startswith("val/") and name.endswith(suffix)}
    return {plain: results[name] for plain, name in names.items() if plain in results}


def record_baselines(config: RunConfig, results: Mapping[str, Any]) -> None:
    """Record each row beside the adapter as a child run of the training; nothing where MLflow never had the training.

    Args:
        config: The training.
        results: Its closing numbers.
    """
    if not results["run_id"]:
        return
    for row, suffix in trained_rows().items():
        numbers = baseline_numbers(results, suffix) if suffix else {}
        if not numbers:
            continue
        tags = {"stage": "baseline", "method": row, "mlflow.parentRunId": results["run_id"]}
        folder = Path(results["folder"]) / FOLDER / row
        with MLflowTracker(config.tracking.experiment, row, folder, tags=tags, system_metrics=False) as tracker:
            for step in (0, results["steps"]):
                tracker.log_metrics(numbers, step)
