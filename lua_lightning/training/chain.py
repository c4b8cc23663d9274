"""A chain: several stages in a row, each from the averaged weights of the one before."""

import contextlib
import re
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch.distributed as dist
from rich.console import Console

from lua_lightning.bounds import Each, Name, Text, Within
from lua_lightning.config import RunConfig, load_config, read_yaml, to_yaml
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.intervals import intervals, paired_differences, read_scores
from lua_lightning.evaluation.perceptual import distances
from lua_lightning.evaluation.registry import Metric, label_of, metric_of
from lua_lightning.evaluation.tables import plain_table, reported
from lua_lightning.files import write_json, write_text
from lua_lightning.signals import resumable
from lua_lightning.tracking.names import run_name
from lua_lightning.tracking.sync import finish
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.budget import Budget
from lua_lightning.training.checks import check_run
from lua_lightning.training.runs import (
    CONFIG,
    LATEST,
    RESULTS,
    SCORES,
    folder_to_resume,
    held,
    is_rank_zero,
    new_folder,
)
from lua_lightning.training.train import quiet, train

STAGES = "stages.json"  # in the chain's folder: the run folder of each stage that has begun

STAGE_SETTING = re.compile(r"(?P<stage>[\w-]+):(?P<setting>[^=]+=.*)", re.DOTALL)  # stage3:loss.pixel_fft=0.5


@dataclass
class StageConfig:
    """One stage of a chain."""

    experiment: Annotated[str, Text(empty=True)] = ""
    """Experiment file of the stage, relative to the chain's file."""
    settings: Annotated[list[str], Each(Text())] = field(default_factory=list)
    """Settings (key=value) that override the experiment file's."""
    share: Annotated[float, Within(0, 1e6, above=True)] = 1.0
    """Weight of the stage when the chain has a time budget."""


@dataclass
class ChainConfig:
    """A chain of stages; each starts from the averaged weights of the one before."""

    name: Annotated[str, Name()] = "chain"
    """Name of the chain's folder and of its MLflow run."""
    stages: Annotated[list[StageConfig], Each(most=1000)] = field(default_factory=list)
    """The stages, in order."""


def load_chain(path: Path, overrides: Sequence[str]) -> tuple[ChainConfig, list[RunConfig]]:
    """Return a chain and the resolved run of each stage.

    The first stage starts as its own file says, but not from another run; the others start where the one before ended.

    Args:
        path: A chain file, or an experiment file, which is a chain of one stage.
        overrides: `key=value` for every stage, or `STAGE:key=value` for one.

    Raises:
        UserError: A file is missing or a setting is wrong, in any stage.
    """
    chain = read_chain(path)
    names = stage_names(path)
    for stage in stages_of(overrides):
        if stage not in names:
            raise unknown_name(f"stage in {path}:", stage, names)
    runs = []
    for number, (name, stage) in enumerate(zip(names, chain.stages, strict=True)):
        settings = [*stage.settings, *settings_of_stage(overrides, name)]
        run = load_config(RunConfig, path.parent / stage.experiment, settings)
        start = run.adapter.init_from
        if number or (start and start.startswith(LATEST)):
            run = replace(run, adapter=replace(run.adapter, init_from=None))
        check_run(run)
        if run.stage in [other.stage for other in runs]:
            raise UserError(f"{path} has two stages called {run.stage}: give one another name (settings: [stage=...])")
        runs.append(run)
    return chain, runs


def stage_names(path: Path) -> list[str]:
    """Return the names of a chain's stages, in order."""
    return [
        load_config(RunConfig, path.parent / stage.experiment, stage.settings).stage
        for stage in read_chain(path).stages
    ]


def stages_of(settings: Iterable[str]) -> list[str]:
    """Return the stages that settings name, `STAGE:key=value`."""
    return [found["stage"] for setting in settings if (found := STAGE_SETTING.fullmatch(setting))]


def settings_of_stage(settings: Iterable[str], stage: str) -> list[str]:
    """Return the settings that hold for a stage as `key=value`: the general ones and its own, the later ones last."""
    stage_settings = []
    for setting in settings:
        found = STAGE_SETTING.fullmatch(setting)
        if found is None:
            stage_settings.append(setting)
        elif found["stage"] == stage:
            stage_settings.append(found["setting"])
    return stage_settings


def read_chain(path: Path) -> ChainConfig:
    """Return the stages that a chain file lists; an experiment file is a chain of one stage.

    Raises:
        UserError: The file cannot be read, or lists none.
    """
    found = read_yaml(path)
    if isinstance(found, dict) and "loss" in found:  # an experiment
        return ChainConfig(load_config(RunConfig, path).name, [StageConfig(path.name)])
    chain = load_config(ChainConfig, path)
    if not chain.stages:
        raise UserError(f"{path} lists no stages: give for example stages: [{{experiment: ../stage1.yaml}}]")
    return chain


def run_chain(
    path: Path,
    overrides: Sequence[str],
    resume: bool = False,
    folder: Path | None = None,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, Any] | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Run a chain file and return, by stage and scale, every metric with its interval.

    A stage that is finished is not run again when the chain is resumed; an unfinished one goes on where it stopped.

    Args:
        path, overrides: As `load_chain` takes them.
        resume: Go on with the newest unfinished chain of that name.
        folder: The chain's own: begun there, or gone on with.
        name: Of the MLflow run; the chain's own when not given.
        tags: Of the chain's MLflow run, beside the usual ones.
        params: Of the chain's MLflow run, beside its settings.
        minutes: Time for the whole chain, shared as its stages' `share` says. Each takes as many steps as fit.
    """
    chain, runs = load_chain(path, overrides)
    quiet()
    chain_run = replace(runs[0], name=chain.name, stage="chain")  # names the chain's folder and its MLflow run
    folder = _folder(chain_run, folder, resume)
    with contextlib.ExitStack() as stack:
        stack.enter_context(resumable(f"the same command with `--folder {folder}` (make: RESUME=1) goes on"))
        stack.enter_context(held(folder))
        if is_rank_zero():
            write_text(folder / CONFIG, to_yaml(chain_run))
        tracker = stack.enter_context(
            MLflowTracker(
                chain_run.tracking.experiment,
                name or run_name(chain.name, overrides),
                folder,
                tags={"stage": "chain", "codec": chain_run.cache.codec, **(tags or {})},
                system_metrics=False,
            )
        )
        tracker.log_run_start(to_yaml(chain))
        tracker.log_hyperparams(params or {})
        begun: dict[str, str] = read_json(folder / STAGES) if (folder / STAGES).exists() else {}
        command = shlex.join(["lua-lightning", "chain", str(path), *overrides])
        results = _run_stages(chain, runs, begun, folder, tracker.run_id, command, minutes)
        if is_rank_zero():
            return _close(tracker, folder, results)
    return {}


def _folder(chain_run: RunConfig, folder: Path | None, resume: bool) -> Path:
    """Return the folder of a chain: the one to go on with, or the one to begin in."""
    if folder is not None:
        resume = (folder / CONFIG).is_file()
    if resume:
        folder = folder_to_resume(chain_run, str(folder or "auto"))
    return folder or new_folder(chain_run)


def _run_stages(
    chain: ChainConfig,
    runs: Sequence[RunConfig],
    begun: dict[str, str],
    folder: Path,
    parent: str | None,
    command: str,
    minutes: float | None,
) -> list[dict[str, Any]]:
    """Run the stages in a row and return the closing numbers of each; `begun` gains those that begin."""
    results, previous = [], None
    budget = Budget(minutes, [stage.share for stage in chain.stages]) if minutes else None
    for number, run in enumerate(runs):
        if previous is not None:
            run = replace(run, adapter=replace(run.adapter, init_from=previous, transfer=False))
        key, started = f"{number + 1}-{run.name}", time.monotonic()
        if key in begun and minutes:
            run = _as_begun(run, Path(begun[key]))
        elif budget:
            run = budget.fitted(run, number, run.adapter.init_from)
            started = time.monotonic()
        done = _run_stage(key, run, begun, folder, parent, command)
        if budget:
            budget.close(time.monotonic() - started, 3600 * done["hours"])
        previous = done["adapter"]
        results.append(done)
    return results


def _close(tracker: MLflowTracker, folder: Path, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Record the report on all stages, which marks the chain as finished, and return it."""
    report = chain_report(results)
    for stage, scores in report["stages"].items():
        for name, value in _flat(scores).items():
            tracker.log_metrics({f"{stage}/{name}": value}, 0)
        tracker.log_metrics({f"{stage}/{name}": value for name, value in _differences(scores).items()}, 0)
    final = report["stages"][results[-1]["stage"]]
    tracker.log_metrics({f"val/{name}": value for name, value in _flat(final).items()}, 0)
    tracker.log_dict(report, RESULTS)
    report["run_id"] = tracker.run_id
    write_json(folder / RESULTS, {"stage": "chain", **report})
    return report


def _as_begun(run: RunConfig, folder: Path) -> RunConfig:
    """Return a stage with the steps that its time allowed when it was begun."""
    if not (folder / CONFIG).exists():
        return run
    known = load_config(RunConfig, folder / CONFIG)
    return replace(run, train=known.train, optim=known.optim, validation=known.validation)


def _run_stage(
    key: str, run: RunConfig, begun: dict[str, str], folder: Path, parent: str | None, command: str
) -> dict[str, Any]:
    """Return a stage's closing numbers: those on disk, or those of running it, or of going on with it."""
    if key in begun and (Path(begun[key]) / RESULTS).exists():
        if is_rank_zero():
            finish(begun[key])
        return read_json(Path(begun[key]) / RESULTS, keys={"adapter": str, "folder": str, "stage": str})
    if key in begun and (Path(begun[key]) / CONFIG).exists():
        results = train(run, resume=begun[key], parent_run_id=parent, command=command)
    else:
        stage_folder = new_folder(run)
        begun[key] = str(stage_folder)
        if is_rank_zero():
            write_json(folder / STAGES, begun)
        results = train(run, folder=stage_folder, parent_run_id=parent, command=command)
    if dist.is_available() and dist.is_initialized():  # only rank zero knows where it wrote, and that it has written
        shared = [results]
        dist.broadcast_object_list(shared, src=0)
        results = shared[0]
    return results


def chain_report(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return `stages`: by stage name and scale, each reported metric as value, low and high, or why there is none.

    From the second stage on a metric also has the `difference` to the first stage, paired crop by crop.
    """
    _, missing = distances()
    scores = [read_scores(Path(result["folder"]) / SCORES) for result in results]
    stages = {}
    for position, result in enumerate(results):
        estimates = intervals(scores[position])
        differences = paired_differences(scores[position], scores[0]) if position else {}
        by_scale: dict[str, Any] = {}
        for scale in sorted({name.partition("/")[0] for name in estimates}):
            by_scale[scale] = {name: {"unavailable": reason} for name, reason in missing.items()}
            for name in reported():
                key = f"{scale}/{name}"
                if key not in estimates:
                    by_scale[scale][name] = {"unavailable": "its weights were not there when this stage ended"}
                    continue
                by_scale[scale][name] = estimates[key].entry()
                if key in differences:
                    by_scale[scale][name] = {**estimates[key].entry(), "difference": differences[key].entry()}
        facts = {name: result[name] for name in ("steps", "hours", "images_per_second", "run_id")}
        stages[result["stage"]] = {**by_scale, **facts}
    return {"stages": stages, "adapter": results[-1]["adapter"]}


def _flat(scores: dict[str, Any]) -> dict[str, float]:
    return {
        f"{scale}/{name}": entry["value"]
        for scale, metrics in scores.items()
        if isinstance(metrics, dict)
        for name, entry in metrics.items()
        if "value" in entry
    }


def _differences(scores: dict[str, Any]) -> dict[str, float]:
    """Return a stage's paired differences to the first stage, such as `x2/psnr/difference`, `/low` and `/high`."""
    return {
        f"{scale}/{name}/{'difference' if end == 'value' else end}": number
        for scale, metrics in scores.items()
        if isinstance(metrics, dict)
        for name, entry in metrics.items()
        for end, number in entry.get("difference", {}).items()
    }


def print_report(report: dict[str, Any]) -> None:
    """Print the closing card: the stages side by side, with intervals, on stderr."""
    stages = report["stages"]
    title = (
        "validation photographs, averaged weights; 95 % intervals over photographs,\n"
        "of the value in the first column, of the paired difference to it in the others"
    )
    table = plain_table(title, "metric", stages)
    first = next(iter(stages.values()))
    for scale, metrics in first.items():
        if not isinstance(metrics, dict):
            continue
        table.add_row(f"[bold]{scale}[/bold]")
        for name in metrics:
            if "value" in metrics[name]:
                cells = [_cell(stage[scale][name], metric_of(name)) for stage in stages.values()]
                table.add_row(label_of(name), *cells)
    console = Console(stderr=True, highlight=False)
    console.print(table)
    for name, reason in distances()[1].items():
        console.print(f"{label_of(name)} is unavailable: {reason}", soft_wrap=True)


def _cell(entry: dict[str, Any], metric: Metric) -> str:
    """Return the value above its interval, or above that of its paired difference to the first stage."""
    shown, sign = (entry["difference"], "+") if "difference" in entry else (entry, "")
    low, high = (metric.fine(shown[key], sign) for key in ("low", "high"))
    return f"{metric.text(entry['value'])}\n[dim]{low} to {high}[/dim]"
