"""A sweep as data: which variants and seeds are trained, from which files, into which folders."""

import hashlib
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from lua_lightning.bounds import SEED, Each, Name, Text, Within, check
from lua_lightning.config import RunConfig, TrackingConfig, load_config, to_yaml
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.tables import reported
from lua_lightning.locks import is_held
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.pretrained import state_dict_sha256
from lua_lightning.tracking.names import plain_name
from lua_lightning.training.chain import load_chain, stage_names, stages_of
from lua_lightning.training.runs import CONFIG, RESULTS, SCORES

ERROR = "error.txt"
MOST_VARIANTS = 1000
VARIANTS = "variant"  # name of the axis of named variants


@dataclass
class VariantConfig:
    """One named variant."""

    chain: Annotated[str | None, Text()] = None
    """Chain or experiment file, relative to the sweep's file. null takes the sweep's base."""
    settings: Annotated[list[str], Each(Text())] = field(default_factory=list)
    """Settings of the variant: key=value for every stage, or STAGE:key=value for one."""


@dataclass
class SweepConfig:
    """Which trainings to compare: named variants, a grid over settings, or both."""

    name: Annotated[str, Name()] = "sweep"
    """Name of the sweep's folder and of its MLflow run."""
    base: Annotated[str, Text(empty=True)] = ""
    """Chain or experiment file of the variants that name none, relative to this file."""
    settings: Annotated[list[str], Each(Text())] = field(default_factory=list)
    """Settings of every run, written as a variant's. A variant's own settings override them."""
    seeds: Annotated[list[int], Each(Within(0, SEED), least=1, distinct=True)] = field(default_factory=lambda: [0, 1])
    """Seeds that every variant is trained with."""
    reference: Annotated[str, Text(empty=True)] = ""
    """Variant that the others are compared with."""
    metric: Annotated[str, Text()] = "x2/psnr"
    """Metric that the closing table compares."""
    variants: Annotated[dict[str, VariantConfig], Each()] = field(default_factory=dict)
    """Named variants, each with a chain and settings of its own."""
    grid: Annotated[dict[str, list[Any]], Each(Each(least=1))] = field(default_factory=dict)
    """Values to try, by setting. Every combination is a variant."""


@dataclass(frozen=True)
class PlannedRun:
    """One training of a sweep.

    Attributes:
        variant: Its name.
        seed: Of all its stages.
        chain: Its file.
        settings: As `load_chain` takes them, with the seed and the folder.
        stages: The resolved stages.
        folder: Its own; the name holds a hash of its settings and of the weights that it starts from.
    """

    variant: str
    seed: int
    chain: Path
    settings: tuple[str, ...]
    stages: tuple[RunConfig, ...]
    folder: Path

    @property
    def state(self) -> str:
        """`finished`, `failed`, `running`, `interrupted` or `planned`."""
        if (self.folder / RESULTS).is_file():
            return "finished"
        if self.is_running():
            return "running"
        if (self.folder / ERROR).is_file():
            return "failed"
        return "interrupted" if (self.folder / CONFIG).is_file() else "planned"

    def is_running(self) -> bool:
        """Return whether a process of this machine holds the run's lock; the system frees it when that process ends."""
        return is_held(self.folder)

    @property
    def scores(self) -> Path:
        """File of the scores of a finished run's last stage, crop by crop."""
        return Path(read_json(self.folder / RESULTS, keys={"adapter": str})["adapter"]).parent / SCORES


@dataclass(frozen=True)
class Plan:
    """Everything that a sweep trains.

    Attributes:
        config: The sweep.
        axes: Values of the variants on each axis: by axis, the value by variant, in order.
        runs: One for each variant and seed.
        folder: Where the summary is written; the name holds a hash of all runs.
    """

    config: SweepConfig
    axes: dict[str, dict[str, Any]]
    runs: tuple[PlannedRun, ...]
    folder: Path

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in order."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str) -> list[PlannedRun]:
        """Return a variant's runs, one a seed."""
        return [run for run in self.runs if run.variant == variant]

    def survivors(self, todo: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return the runs beside `todo` that a driver before this one began and that still go on."""
        folders = {run.folder for run in todo}
        return [run for run in self.runs if run.folder not in folders and run.state == "running"]


def load_plan(path: Path, overrides: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Plan:
    """Return the runs of a sweep file.

    Args:
        path: The sweep file.
        overrides: Settings of every run, over the file's.
        seeds: In place of the file's.

    Raises:
        UserError: The file is wrong, or a setting of any run is: nothing has begun then.
    """
    config = load_config(SweepConfig, path)
    config = check(replace(config, seeds=list(seeds or config.seeds), settings=[*config.settings, *overrides]))
    variants, axes = _variants(path, config)
    _check(path, config, list(variants))
    known = {name for chain, _ in variants.values() for name in stage_names(chain)}
    for stage in stages_of(config.settings):
        if stage not in known:
            raise unknown_name(f"stage in {path}:", stage, sorted(known))
    runs: list[PlannedRun] = []
    for name, (chain, settings) in variants.items():
        for seed in config.seeds:
            try:
                run = _planned(config, name, chain, settings, seed)
            except UserError as error:
                raise UserError(f"{path}, variant {name}: {error}") from error
            twin = next((other for other in runs if other.folder.name[-8:] == run.folder.name[-8:]), None)
            if twin is not None:
                raise UserError(f"{path}: the variants {twin.variant} and {name} are the same training: leave out one")
            runs.append(run)
    _check_metric(path, config, runs)
    digest = _digest([run.folder.name for run in runs] + [config.reference, config.metric])
    return Plan(config, axes, tuple(runs), runs[0].folder.with_name(f"summary-{digest}"))


def _variants(path: Path, config: SweepConfig) -> tuple[dict[str, tuple[Path, list[str]]], dict[str, dict[str, Any]]]:
    """Return each variant's chain and own settings, and the values on each axis by variant."""
    found: dict[str, tuple[Path, list[str]]] = {}
    axes: dict[str, dict[str, Any]] = {}
    for name, variant in config.variants.items():
        chain = variant.chain or config.base
        if not chain:
            raise UserError(f"{path}: variant {name} has no chain, and the sweep no base: name one of them")
        found[name] = (path.parent / chain, variant.settings)
        axes.setdefault(VARIANTS, {})[name] = name
    if config.grid and not config.base:
        raise UserError(f"{path}: a grid needs base, the file that its values are set in")
    if (count := math.prod(map(len, config.grid.values()))) > MOST_VARIANTS:
        raise UserError(f"{path}: grid has {count} combinations, and at most {MOST_VARIANTS} can be compared")
    for values in itertools.product(*config.grid.values()) if config.grid else ():
        settings = [f"{key}={json.dumps(value)}" for key, value in zip(config.grid, values, strict=True)]
        name = ", ".join(f"{key}={value}" for key, value in zip(config.grid, values, strict=True))
        found[name] = (path.parent / config.base, settings)
        for key, value in zip(config.grid, values, strict=True):
            axes.setdefault(key, {})[name] = value
    return found, axes


def _planned(config: SweepConfig, name: str, chain: Path, variant_settings: Sequence[str], seed: int) -> PlannedRun:
    stages = stage_names(chain)
    # What the sweep sets for a stage that this variant leaves out does not concern it.
    general = [setting for setting in config.settings if not set(stages_of([setting])) - set(stages)]
    settings = [*general, *variant_settings, f"seed={seed}"]
    _, runs = load_chain(chain, settings)
    digest = _digest([to_yaml(_that_decides(run)) for run in runs] + _starting_weights(runs[0]))
    slug = re.sub(r"[^\w.=-]+", "_", name)
    folder = Path(runs[0].runs) / "sweeps" / config.name / f"{slug}-seed{seed}-{digest}"
    settings.append(f"runs={folder}")
    return PlannedRun(name, seed, chain, tuple(settings), tuple(replace(run, runs=str(folder)) for run in runs), folder)


def _that_decides(run: RunConfig) -> RunConfig:
    """Return the run without the settings that do not change its result."""
    return replace(run, name="", runs="", tracking=TrackingConfig(), cache=replace(run.cache, folder=""))


def _starting_weights(run: RunConfig) -> list[str]:
    start = run.adapter.init_from
    return [] if start is None else [state_dict_sha256(LatentUpscaler.from_pretrained(start).state_dict())]


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def tracked_name(variant: str) -> str:
    """Return the name that a variant's metrics have in MLflow, which refuses some characters."""
    return plain_name(variant.replace("/", " "))


def _check(path: Path, config: SweepConfig, names: Sequence[str]) -> None:
    if not names:
        raise UserError(f"{path} has nothing to compare: give variants or a grid")
    for name, other in itertools.combinations(names, 2):
        if tracked_name(name) == tracked_name(other):
            raise UserError(f"{path}: MLflow cannot tell the variants {name} and {other} apart: rename one")
    if config.reference not in names:
        raise unknown_name(f"reference in {path}:", config.reference, list(names))
    for setting in [*config.settings, *(one for variant in config.variants.values() for one in variant.settings)]:
        if setting.partition("=")[0].rpartition(":")[2] == "seed":
            raise UserError(f"{path}: {setting} belongs into seeds, a list (--seeds 0,1,2)")


def _check_metric(path: Path, config: SweepConfig, runs: Sequence[PlannedRun]) -> None:
    reference = next(run for run in runs if run.variant == config.reference)
    names = [f"x{scale}/{name}" for scale in reference.stages[-1].adapter.scales for name in reported()]
    if config.metric not in names:
        raise unknown_name(f"metric in {path}:", config.metric, names)
