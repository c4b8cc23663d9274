"""The search for loss weights with Optuna's TPE sampler."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import optuna
import yaml
from optuna.importance import get_param_importances
from optuna.trial import TrialState
from rich.console import Console

from lua_lightning.bounds import SEED, Each, Name, Text, Within
from lua_lightning.config import load_config, to_yaml
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.tables import plain_table
from lua_lightning.files import write_text
from lua_lightning.locks import alone
from lua_lightning.sweeps.objective import VERSION, distances
from lua_lightning.tracking.address import tracking_uri
from lua_lightning.tracking.delivery import connect
from lua_lightning.tracking.spool import stored_run_id
from lua_lightning.tracking.tracker import MLflowTracker
from lua_lightning.training.chain import load_chain, read_chain, run_chain, settings_of_stage, stage_names
from lua_lightning.training.runs import RESULTS
from lua_lightning.training.train import quiet

OBJECTIVE = "objective"
FEWEST_FOR_IMPORTANCE = 4
MOST_FAILURES = 3  # in a row
CARRIED = ("data.", "cache.", "adapter.")  # settings of a trial that the training with the weights found needs as well


@dataclass
class SearchConfig:
    """Which weights to search, around which training."""

    name: Annotated[str, Name()] = "search"
    """Name of the search's folder and of its MLflow run."""
    base: Annotated[str, Text(empty=True)] = ""
    """Chain or experiment file that every trial trains, relative to this file."""
    settings: Annotated[list[str], Each(Text())] = field(default_factory=list)
    """Settings of every trial: key=value for every stage, or STAGE:key=value for one."""
    space: Annotated[dict[str, list[float]], Each(Each(Within(0, 1e9)))] = field(default_factory=dict)
    """Lowest and highest weight by STAGE:loss.TERM. Weights are sampled evenly on a logarithmic scale."""
    trials: Annotated[int, Within(1, 1_000_000)] = 16
    """Finished trials to end with."""
    seed: Annotated[int, Within(0, SEED)] = 0
    """Seed of every training and of the sampler."""


class Search:
    """One search, which goes on where its storage ends.

    Args:
        path: Its file.
        overrides: Settings of every trial, over the file's.
        trials: In place of the file's.

    Raises:
        UserError: The file is wrong, or a setting of its training is.
    """

    def __init__(self, path: Path, overrides: Sequence[str] = (), trials: int | None = None):
        self.config = load_config(SearchConfig, path)
        self.config.settings += overrides
        self.config.trials = trials or self.config.trials
        self.chain = path.parent / self.config.base
        self._check(path)
        _, stages = load_chain(self.chain, self.config.settings)
        self.last = stages[-1]
        content = to_yaml(self.config).replace(f"trials: {self.config.trials}\n", "")  # more of them is the same search
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        self.folder = Path(self.last.runs) / "searches" / f"{self.config.name}-{digest}"
        self.published = self._published({stage.stage: stage.loss for stage in stages})

    def _check(self, path: Path) -> None:
        if not self.config.space:
            raise UserError(f"{path} has nothing to search: give space, for example stage3:loss.pixel_fft: [0.1, 10]")
        for key, ends in self.config.space.items():
            if len(ends) != 2 or not 0 < ends[0] < ends[1]:
                raise UserError(f"{path}: space.{key}={ends} must be a lowest and a highest value, both above 0")
            stage, _, setting = key.rpartition(":")
            if not stage or not setting.startswith("loss."):
                raise UserError(f"{path}: space.{key} is not a stage's weight of a loss term: stage3:loss.pixel_fft is")
            load_chain(self.chain, [*self.config.settings, f"{key}={ends[0]}"])

    def _published(self, losses: Mapping[str, Mapping[str, float]]) -> dict[str, float] | None:
        """Return the base's own weights; None where the space leaves one of them out."""
        found = {}
        for key, (low, high) in self.config.space.items():
            stage, _, setting = key.rpartition(":")
            weight = losses[stage].get(setting.removeprefix("loss."), 0.0)
            if not low <= weight <= high:
                return None
            found[key] = weight
        return found

    def is_published(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether a trial had the base's own weights."""
        return self.published is not None and all(
            math.isclose(trial.params[key], weight) for key, weight in self.published.items()
        )

    def study(self) -> optuna.Study:
        """Return the study in the folder's database; trials that were interrupted are queued again."""
        self.folder.mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=f"sqlite:///{self.folder / 'optuna.db'}",
            study_name=f"{self.config.name}, objective {VERSION}",
            load_if_exists=True,
        )
        # A search that goes on must not draw again what it drew first.
        seed, startup = self.config.seed + len(study.trials), max(4, self.config.trials // 3)
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        for trial in study.get_trials(states=[TrialState.RUNNING]):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params)
        if not study.trials and self.published:
            study.enqueue_trial(self.published)
        return study

    def trial(self, trial: optuna.Trial, parent: str) -> float:
        """Train with one choice of weights, and return its objective: the mean of its distances; lower is better."""
        weights = {key: trial.suggest_float(key, *ends, log=True) for key, ends in self.config.space.items()}
        folder = self.folder / f"trial-{hashlib.sha256(json.dumps(weights).encode()).hexdigest()[:8]}"
        if (folder / RESULTS).is_file():  # finished, but not measured before the search was stopped
            report = read_json(folder / RESULTS, keys={"adapter": str})
        else:
            settings = [*self.config.settings, *_settings(weights), f"seed={self.config.seed}", f"runs={folder}"]
            tags = {"mlflow.parentRunId": parent, "search": self.config.name}
            report = run_chain(
                self.chain, settings, folder=folder, name=f"trial {trial.number}", tags=tags, params=weights
            )
        found = distances(Path(report["adapter"]), self.last)
        objective = sum(found.values()) / len(found)
        client = connect(tracking_uri())
        for name, value in {
            OBJECTIVE: objective,
            **{f"{OBJECTIVE}/{key}": value for key, value in found.items()},
        }.items():
            client.log_metric(stored_run_id(folder) or "", name, value)
        return objective

    def best_chain(self, weights: Mapping[str, float]) -> str:
        """Return a chain file that trains the base in full with the given weights, on the same data and network."""
        stages = []
        for name, stage in zip(stage_names(self.chain), read_chain(self.chain).stages, strict=True):
            experiment = (self.chain.parent / stage.experiment).resolve()
            kept = [text for text in settings_of_stage(self.config.settings, name) if text.startswith(CARRIED)]
            weight_settings = settings_of_stage(_settings(weights), name)
            stages.append({"experiment": str(experiment), "settings": [*stage.settings, *kept, *weight_settings]})
        content = {"name": f"{self.config.name}-best", "stages": stages}
        return yaml.safe_dump(content, sort_keys=False, width=120)


def _settings(weights: Mapping[str, float]) -> list[str]:
    return [f"{key}={value:.6g}" for key, value in weights.items()]


def importances(study: optuna.Study) -> dict[str, float]:
    """Return the share of the objective's variance that each weight explains (fANOVA); empty with too few trials."""
    finished = _finished(study)
    if len(finished) < FEWEST_FOR_IMPORTANCE or len({trial.value for trial in finished}) < 2:
        return {}
    return get_param_importances(study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0))


def _carry_out(search: Search, study: optuna.Study, tracker: MLflowTracker, parent: str) -> None:
    """Run trials until enough are finished.

    Raises:
        UserError: Several trainings in a row could not be finished.
    """
    console, failures = Console(stderr=True, highlight=False), 0
    while (count := len(_finished(study))) < search.config.trials:
        trial = study.ask()
        try:
            value = search.trial(trial, parent)
        except UserError as error:
            study.tell(trial, state=TrialState.FAIL)
            failures += 1
            if failures == MOST_FAILURES:
                raise
            console.print(f"trial {trial.number} failed: {error}", markup=False, soft_wrap=True)
            continue
        failures = 0
        study.tell(trial, value)
        tracker.log_metrics({OBJECTIVE: value, f"{OBJECTIVE}/best": study.best_value}, count)
        shown = ", ".join(_settings(trial.params))
        console.print(f"[{count + 1}/{search.config.trials}] {value:.4f} with {shown}", markup=False, soft_wrap=True)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=[TrialState.COMPLETE])


def run(search: Search) -> dict[str, Any]:
    """Run what is missing of a search and return its closing numbers."""
    study = search.study()
    tracking = search.last.tracking
    tracker = MLflowTracker(
        tracking.experiment,
        search.config.name,
        search.folder,
        tags={"stage": "search"},
        system_metrics=False,
    )
    with tracker:
        tracker.log_run_start(to_yaml(search.config))
        parent = tracker.run_id
        assert parent is not None
        _carry_out(search, study, tracker, parent)
        found = importances(study)
        tracker.log_metrics(
            {f"importance/{key.replace(':', ' ')}": value for key, value in found.items()}, len(study.trials)
        )
        path = search.folder / "best.yaml"
        head = f"# Found by {len(_finished(study))} trials of the search {search.config.name}.\n"
        write_text(path, f"{head}# Command: lua-lightning chain {path}\n{search.best_chain(study.best_params)}")
        tracker.log_artifact(path)
    published = next((trial.value for trial in _finished(study) if search.is_published(trial)), None)
    return {
        "search": search.config.name,
        "folder": str(search.folder),
        "trials": search.config.trials,
        "best": {"objective": study.best_value, "weights": study.best_params},
        "published": published,
        "importances": found,
        "chain": str(path),
        "run_id": parent,
    }


def print_card(report: Mapping[str, Any]) -> None:
    """Print the best weights and their importance on stderr."""
    console = Console(stderr=True, highlight=False)
    best = report["best"]
    title = (
        f"best of {report['trials']} trials: objective {best['objective']:.4f} (1 is latent bicubic; lower is better)"
    )
    if report["published"] is not None:
        title += f"; the base's own weights {report['published']:.4f}"
    table = plain_table(title, "setting", ["best value", "importance"])
    for key, value in best["weights"].items():
        share = report["importances"].get(key)
        table.add_row(key, f"{value:.3g}", "" if share is None else f"{100 * share:.0f} %")
    console.print(table)
    if not report["importances"]:
        console.print(f"importances need {FEWEST_FOR_IMPORTANCE} different trials")
    console.print(f"ready to train: lua-lightning chain {report['chain']}", soft_wrap=True)


def run_search(path: Path, overrides: Sequence[str] = (), trials: int | None = None) -> dict[str, Any]:
    """Run what is missing of a search file and return its closing numbers.

    Args:
        path: The search file.
        overrides: Settings of every trial, over the file's.
        trials: Finished trials to end with, in place of the file's.

    Raises:
        UserError: A setting is wrong, or another process runs the same search.
    """
    quiet()
    search = Search(path, overrides, trials)
    with alone(search.folder):
        return run(search)
