"""What a sweep found: every variant's metrics over its seeds, and the paired differences to the reference."""

import csv
import io
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lua_lightning.documents import check_shape, read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import (
    CropScores,
    Estimate,
    paired_differences_over_seeds,
    read_scores,
    summarise,
)
from lua_lightning.evaluation.registry import keys_of, label_of, metric_of
from lua_lightning.evaluation.tables import markdown_table, reported
from lua_lightning.sweeps.plan import Plan, PlannedRun, tracked_name
from lua_lightning.training.runs import RESULTS, check_same_photographs

SHOWN = tuple(keys_of("pairs"))
COLUMNS = ("variant", "metric", "n", "mean", "std", "difference", "low", "high", "clear_of_zero")


@dataclass(frozen=True)
class Cell:
    """One metric of one variant.

    Attributes:
        values: Of each training, by seed.
        difference: To the reference, over the seeds that both have; None for the reference itself, and where it lacks
            the metric.
    """

    values: Mapping[int, float]
    difference: Estimate | None = None

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values.values())

    @property
    def std(self) -> float | None:
        """Standard deviation over the seeds, of the sample; None for a single one."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference leaves out zero."""
        return self.difference is not None and self.difference.clear


@dataclass(frozen=True)
class Summary:
    """What the finished runs of a sweep say.

    Attributes:
        cells: By variant and metric, `x<scale>/<name>`.
        hours: Of training, by variant, averaged over its runs.
        steps: Of a run, by variant, summed over its stages.
    """

    cells: dict[str, dict[str, Cell]]
    hours: dict[str, float]
    steps: dict[str, int]

    def flat(self) -> Iterator[tuple[str, str, dict[str, float | int]]]:
        """Yield variant, metric and its numbers: `n`, `mean` and, where known, `std`, `difference`, `low`, `high`."""
        for variant, metrics in self.cells.items():
            for metric, cell in metrics.items():
                numbers: dict[str, float | int] = {"n": len(cell.values), "mean": cell.mean}
                if cell.std is not None:
                    numbers["std"] = cell.std
                if cell.difference is not None:
                    entry = cell.difference.entry()
                    numbers.update(difference=entry.pop("value"), **entry)
                yield variant, metric, numbers


def summarise_sweep(plan: Plan) -> Summary:
    """Return the summary of the runs that are finished; variants without one are left out.

    Raises:
        UserError: Runs of the same seed were validated on different crops.
    """
    scores: dict[str, dict[int, list[CropScores]]] = {}
    hours, steps = {}, {}
    for variant in plan.variants:
        finished = [run for run in plan.of(variant) if run.state == "finished"]
        if finished:
            scores[variant] = {run.seed: read_scores(run.scores) for run in finished}
            hours[variant] = statistics.fmean(_hours(run) for run in finished)
            steps[variant] = sum(stage.train.steps for stage in finished[0].stages)
    check_same_photographs(run.scores.parent for run in plan.runs if run.state == "finished")
    reference = scores.get(plan.config.reference, {})
    cells = {}
    for variant, by_seed in scores.items():
        means = {seed: summarise(crops) for seed, crops in by_seed.items()}
        common = [seed for seed in by_seed if seed in reference]
        differences: dict[str, Estimate] = {}
        if common and variant != plan.config.reference:
            ours, theirs = ([trainings[seed] for seed in common] for trainings in (by_seed, reference))
            try:
                differences = paired_differences_over_seeds(ours, theirs)
            except ValueError as error:
                raise UserError(
                    f"{variant} and {plan.config.reference} were validated on different crops, so that the photographs "
                    "changed between them: train all again in another folder (runs=...)"
                ) from error
        cells[variant] = {
            name: Cell({seed: mean[name] for seed, mean in means.items() if name in mean}, differences.get(name))
            for name in sorted({name for mean in means.values() for name in mean})
            if name.partition("/")[2] in reported()
        }
    return Summary(cells, hours, steps)


def _hours(run: PlannedRun) -> float:
    path = run.folder / RESULTS
    stages = read_json(path, keys={"stages": dict})["stages"]
    for stage in stages.values():
        check_shape(path, stage, dict, {"hours": (int, float)})
    return sum(stage["hours"] for stage in stages.values())


def metrics_of(summary: Summary, shown: Sequence[str] = SHOWN) -> list[str]:
    """Return the names of the shown metrics that the summary has at any scale, those of x2 first."""
    names = {name for metrics in summary.cells.values() for name in metrics}
    scales = sorted({name.partition("/")[0] for name in names})
    return [f"{scale}/{metric}" for scale in scales for metric in shown if f"{scale}/{metric}" in names]


def markdown(plan: Plan, summary: Summary, shown: Sequence[str] = SHOWN) -> str:
    """Return the table: mean ± standard deviation over seeds, below it the difference to the reference.

    A star marks a difference whose interval leaves out zero; the best mean of a column is bold.

    Args:
        plan: The sweep.
        summary: What its finished runs say.
        shown: Metrics in the order of their columns; those that nothing has are left out.
    """
    names = metrics_of(summary, shown)
    best = {name: _best(summary, name) for name in names}
    lines = []
    for variant, metrics in summary.cells.items():
        label = f"{variant} (reference)" if variant == plan.config.reference else variant
        n = max(len(cell.values) for cell in metrics.values())
        cells = [_cell(name, metrics.get(name), variant in best[name]) for name in names]
        lines.append([label, str(n), str(summary.steps[variant]), f"{summary.hours[variant]:.2f}", *cells])
    return markdown_table(["variant", "n", "steps", "hours", *map(label_of, names)], lines) + "\n"


def _best(summary: Summary, name: str) -> list[str]:
    means = {variant: metrics[name].mean for variant, metrics in summary.cells.items() if name in metrics}
    wanted = (max if metric_of(name).higher_is_better else min)(means.values())
    return [variant for variant, mean in means.items() if mean == wanted]


def _cell(name: str, cell: Cell | None, best: bool) -> str:
    if cell is None:
        return "–"
    metric = metric_of(name)
    text = metric.fine(cell.mean) + (f" ± {metric.fine(cell.std)}" if cell.std is not None else "")
    text = f"**{text}**" if best else text
    if cell.difference is None:
        return text
    star = "\\*" if cell.clear else ""
    return f"{text}<br>{metric.difference(cell.difference)}{star}"


def csv_text(summary: Summary) -> str:
    """Return every number of the summary as CSV, a row for each variant and metric, in full precision."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for variant, metric, numbers in summary.flat():
        row: dict[str, Any] = {"variant": variant, "metric": metric, **numbers}
        if "difference" in numbers:
            row["clear_of_zero"] = summary.cells[variant][metric].clear
        writer.writerow(row)
    return text.getvalue()


def tracked(summary: Summary) -> dict[str, float]:
    """Return the numbers as MLflow has them: `<variant>/x2/psnr/mean` and so on."""
    return {
        f"{tracked_name(variant)}/{metric}/{kind}": float(value)
        for variant, metric, numbers in summary.flat()
        for kind, value in numbers.items()
    }


def rows(summary: Summary) -> Sequence[dict[str, Any]]:
    """Return the summary as plain data, a row for each variant."""
    return [
        {
            "variant": variant,
            "steps": summary.steps[variant],
            "hours": summary.hours[variant],
            "metrics": {name: {**_numbers(cell)} for name, cell in metrics.items()},
        }
        for variant, metrics in summary.cells.items()
    ]


def _numbers(cell: Cell) -> dict[str, Any]:
    numbers: dict[str, Any] = {"n": len(cell.values), "mean": cell.mean, "std": cell.std, "seeds": dict(cell.values)}
    if cell.difference is not None:
        numbers["difference"] = cell.difference.entry()
    return numbers
