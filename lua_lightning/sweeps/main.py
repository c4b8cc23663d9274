"""A sweep from its file to its comparison: plan, train what is missing, compare."""

import argparse
import importlib.util
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from lua_lightning.config import to_yaml
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import Estimate, read_scores, summarise
from lua_lightning.evaluation.registry import label_of, metric_of
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_json, write_text
from lua_lightning.sweeps.plan import ERROR, Plan, PlannedRun, load_plan
from lua_lightning.tracking.address import SQLITE, tracking_uri
from lua_lightning.tracking.delivery import connect
from lua_lightning.tracking.spool import stored_run_id
from lua_lightning.tracking.sync import finish
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.runs import RESULTS
from lua_lightning.training.train import quiet

TABLE, CSV = "table.md", "table.csv"


def main(arguments: argparse.Namespace) -> int:
    """Run the sweep of a parsed command line; the status is 1 when a run of it is missing in the end."""
    for package in ("submitit", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"the package {package} is not installed: pip install 'lua-lightning[metrics,sweep]'")
    from lua_lightning.sweeps.execute import Options, default_jobs, slurm_settings

    if arguments.jobs is not None and arguments.jobs < 1:
        raise UserError(f"--jobs {arguments.jobs} must be 1 or more")
    if arguments.slurm and arguments.cluster != "slurm":
        raise UserError(f"--slurm {arguments.slurm[0]} is for SLURM: give --cluster slurm too, or leave it out")
    slurm_settings(arguments.slurm)
    plan = load_plan(arguments.sweep, arguments.overrides, _seeds(arguments.seeds))
    options = Options(arguments.jobs or default_jobs(), arguments.cluster, arguments.slurm)
    if options.cluster == "slurm" and tracking_uri().startswith(SQLITE):
        raise UserError(
            "several machines cannot share the SQLite file that MLflow records in here: set MLFLOW_TRACKING_URI to a "
            "server that all of them reach"
        )
    quiet()
    states = {run.folder: run.state for run in plan.runs}
    todo = [run for run in plan.runs if _is_missing(states[run.folder], arguments.retry_failed)]
    local = options.cluster == "local"  # what steps take on a login node says nothing
    seconds = expected_seconds(todo, options.jobs) if local else dict.fromkeys([run.folder for run in todo], None)
    print_plan(plan, states, seconds, options.jobs)
    if arguments.dry_run:
        total = _together(seconds, options.jobs)
        print(json.dumps({"sweep": plan.config.name, "states": Counter(states.values()), "expected_seconds": total}))
        return 0
    return run_sweep(plan, todo, options)


def _seeds(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--seeds {text} must be whole numbers with commas between them, such as 0,1,2") from error


def _is_missing(state: str, retry_failed: bool) -> bool:
    return state in ("planned", "interrupted") or (state == "failed" and retry_failed)


def _together(seconds: Mapping[Path, float | None], jobs: int) -> float | None:
    known = [value for value in seconds.values() if value is not None]
    return sum(known) / jobs if len(known) == len(seconds) else None


def expected_seconds(runs: Sequence[PlannedRun], jobs: int) -> dict[Path, float | None]:
    """Return about how long each run takes, by its folder, `jobs` at a time; loads what they need for the first time.

    Raises:
        UserError: A codec, a network or the photographs of any run cannot be loaded.
    """
    import torch

    from lua_lightning.sweeps.estimate import Estimator
    from lua_lightning.sweeps.execute import threads

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, threads(jobs)))  # as each of the runs will have
    try:
        estimator = Estimator()
        return {run.folder: sum(estimator.seconds(stage) for stage in run.stages) for run in runs}
    finally:
        torch.set_num_threads(before)
        torch.cuda.empty_cache()  # the first run shares this device


def print_plan(plan: Plan, states: dict[Path, str], seconds: Mapping[Path, float | None], jobs: int) -> None:
    """List the runs with their state and, where it is known, expected time on stderr."""
    console = Console(stderr=True, highlight=False)
    title = f"{plan.config.name}: {len(plan.runs)} runs, {len(seconds)} to train, {jobs} at a time"
    if (together := _together(seconds, jobs)) is not None:
        title += f": about {clock(together)}"
    table = plain_table(title, "variant", ["seed", "stages", "steps", "state", "about"])
    for run in plan.runs:
        stages = " + ".join(stage.stage for stage in run.stages)
        steps = " + ".join(str(stage.train.steps) for stage in run.stages)
        about = "" if (expected := seconds.get(run.folder)) is None else clock(expected)
        table.add_row(run.variant, str(run.seed), stages, steps, states[run.folder], about)
    console.print(table)
    for run in plan.runs:
        if states[run.folder] == "failed" and run.folder not in seconds:
            console.print(f"{_failure(run)}; --retry-failed runs it again", soft_wrap=True)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _failure(run: PlannedRun) -> str:
    reason = (run.folder / ERROR).read_text().splitlines()[0]
    return f"{run.variant} seed {run.seed} failed ({reason}; all of it in {run.folder / ERROR})"


def run_sweep(plan: Plan, todo: Sequence[PlannedRun], options: Any) -> int:
    """Train the missing runs under one MLflow parent, then write and print the comparison."""
    from lua_lightning.sweeps.execute import execute

    tracking = plan.runs[0].stages[0].tracking
    tracker = MLflowTracker(
        tracking.experiment, plan.config.name, plan.folder, tags={"stage": "sweep"}, system_metrics=False
    )
    for run in plan.runs:
        if run.state == "finished" and not run.is_running():
            finish(run.folder)
    with tracker:
        tracker.log_run_start(to_yaml(plan.config))
        parent = tracker.run_id  # database and experiment are there before the first worker starts
        assert parent is not None
        progress = _Progress(plan, len(todo) + len(plan.survivors(todo)))
        execute(plan, [_training(plan, run, parent) for run in todo], options, progress.ended)
        report = conclude(plan, tracker, parent)
    missing = [run for run in plan.runs if run.state != "finished"]
    _print_end(plan, report, missing)
    print(json.dumps({**report, "run_id": parent, "missing": [run.folder.name for run in missing]}))
    return 1 if missing else 0


def _training(plan: Plan, run: PlannedRun, parent: str) -> Any:
    from lua_lightning.sweeps.execute import Training

    tags = {"mlflow.parentRunId": parent, "sweep": plan.config.name}
    params: dict[str, Any] = {"variant": run.variant, "seed": run.seed}
    params.update({axis: values[run.variant] for axis, values in plan.axes.items() if run.variant in values})
    terms = sorted({term for other in plan.runs for stage in other.stages for term in stage.loss})
    for stage in run.stages:  # every term, so that the compare view has a value for each run
        params.update({f"{stage.stage}.loss.{term}": stage.loss.get(term, 0.0) for term in terms})
    return Training(run, tags, params)


class _Progress:
    """Tells on stderr what has ended, and how long the rest will take."""

    def __init__(self, plan: Plan, count: int) -> None:
        self._plan, self._count = plan, count
        self._ended, self._started = 0, time.monotonic()
        self._console = Console(stderr=True, highlight=False)

    def ended(self, run: PlannedRun) -> None:
        self._ended += 1
        state = run.state
        if state == "finished":
            metric = self._plan.config.metric
            value = summarise(read_scores(run.scores)).get(metric)
            text = f"{run.variant} seed {run.seed}: " + (
                "finished" if value is None else f"{label_of(metric)} {metric_of(metric).fine(value)}"
            )
        elif state == "failed":
            text = _failure(run)
        else:
            text = f"{run.variant} seed {run.seed} was stopped; started again, the sweep goes on with it"
        passed = time.monotonic() - self._started
        left = passed / self._ended * max(0, self._count - self._ended)
        self._console.print(
            f"[{self._ended}/{self._count}] {text}; about {clock(left)} left", markup=False, soft_wrap=True
        )


def conclude(plan: Plan, tracker: MLflowTracker, parent: str) -> dict[str, Any]:
    """Write table, pictures and numbers of the finished runs to the summary's folder and to MLflow; return them."""
    from lua_lightning.sweeps.plots import pictures
    from lua_lightning.sweeps.summary import csv_text, markdown, rows, summarise_sweep, tracked

    summary = summarise_sweep(plan)
    report: dict[str, Any] = {
        "sweep": plan.config.name,
        "reference": plan.config.reference,
        "metric": plan.config.metric,
        "seeds": list(plan.config.seeds),
        "rows": rows(summary),
        "folder": str(plan.folder),
    }
    if summary.cells:
        _adopt(plan, parent)
        finished = sum(run.state == "finished" for run in plan.runs)
        tracker.log_metrics(tracked(summary), step=finished)  # a later summary has more of them
        write_text(plan.folder / TABLE, markdown(plan, summary))
        write_text(plan.folder / CSV, csv_text(summary))
        for path in [plan.folder / TABLE, plan.folder / CSV, *pictures(plan, summary, plan.folder)]:
            tracker.log_artifact(path)
    write_json(plan.folder / RESULTS, report)
    tracker.log_artifact(plan.folder / RESULTS)
    return report


def _adopt(plan: Plan, parent: str) -> None:
    """Show finished runs under this sweep's parent, also those that an earlier form of the sweep trained."""
    client = connect(tracking_uri())
    for run in plan.runs:
        if run.state == "finished":
            try:
                client.set_tag(stored_run_id(run.folder) or "", "mlflow.parentRunId", parent)
            except Exception:  # recorded elsewhere: another database
                print(f"MLflow does not know the run of {run.folder}; it stays where it was recorded", file=sys.stderr)


def _print_end(plan: Plan, report: dict[str, Any], missing: Sequence[PlannedRun]) -> None:
    console = Console(stderr=True, highlight=False)
    if report["rows"]:
        key, metric = plan.config.metric, metric_of(plan.config.metric)
        title = (
            f"{label_of(key)}: mean over seeds, and paired difference to {plan.config.reference} with its 95 % interval"
        )
        table = plain_table(title, "variant", ["n", "mean", "std", "difference"])
        for row in report["rows"]:
            cell = row["metrics"].get(key)
            if cell is None:
                continue
            shown = ""
            if "difference" in cell:
                difference = Estimate(**cell["difference"])
                shown = metric.difference(difference) + (" *" if difference.clear else "")
            std = "" if cell["std"] is None else metric.fine(cell["std"])
            table.add_row(row["variant"], str(cell["n"]), metric.fine(cell["mean"]), std, shown)
        console.print(table)
        console.print(f"every metric, plots and crops: {plan.folder}/", soft_wrap=True)
    for run in missing:
        text = _failure(run) if run.state == "failed" else f"{run.variant} seed {run.seed} is {run.state}"
        console.print(f"missing: {text}", markup=False, soft_wrap=True)
