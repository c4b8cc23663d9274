"""The folders of training runs: a new one, the one to go on with, and the finished one to start from."""

import datetime
import json
import sys
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lua_lightning.config import RunConfig, load_config, to_yaml
from lua_lightning.errors import UserError

CONFIG, RESULTS, SCORES, START = "config.yaml", "results.json", "scores.json", "init_from.txt"
LATEST = "latest:"  # adapter.init_from=latest:stage1


def new_folder(config: RunConfig) -> Path:
    """Return a fresh folder for a run, named by the time."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(config.runs) / config.name / stamp
    while folder.exists():
        folder = folder.with_name(folder.name + "x")
    return folder


def folder_to_resume(config: RunConfig, resume: str) -> Path:
    """Return the run folder to go on with: `resume` itself, or for `auto` the newest of that name and stage.

    Raises:
        UserError: There is none, it is finished, or it was started with other settings.
    """
    home = Path(config.runs) / config.name
    if resume == "auto":
        same = f"stage: {config.stage}"  # a chain and its stages can share a name
        folders = sorted(path.parent for path in home.glob(f"*/{CONFIG}") if same in path.read_text().splitlines())
        if not folders:
            raise UserError(f"there is no {config.stage} run in {home} to resume: start one without resume")
        folder = folders[-1]
    else:
        folder = Path(resume)
        if not (folder / CONFIG).is_file():
            raise UserError(f"{folder} is not a run folder: it has no {CONFIG}")
    if (folder / RESULTS).exists():
        raise UserError(f"{folder} is finished: start another run without resume, or with more steps")
    old, new = (folder / CONFIG).read_text().splitlines(), to_yaml(config).splitlines()
    changed = [
        f"{before.strip()} -> {after.strip()}" for before, after in zip(old, new, strict=False) if before != after
    ]
    if changed or len(old) != len(new):
        raise UserError(
            f"{folder} was started with other settings ({'; '.join(changed[:3])}): "
            "give the same ones, or start another run"
        )
    return folder


def starting_point(config: RunConfig, resumed: Path | None = None) -> str | None:
    """Return what `adapter.init_from` names: `latest:STAGE` becomes the newest fitting run's adapter folder.

    Says on stderr which run was taken. A resumed run keeps the one that it began with.

    Raises:
        UserError: No finished run of that stage fits.
    """
    wanted = config.adapter.init_from
    if resumed is not None and (resumed / START).is_file():
        return (resumed / START).read_text().strip() or None
    if wanted is None or not wanted.startswith(LATEST):
        return wanted
    stage = wanted.removeprefix(LATEST)
    finished = [path.parent for path in Path(config.runs).glob(f"*/*/{RESULTS}") if _stage_of(path) == stage]
    others = []
    for folder in sorted(finished, key=lambda path: (path / RESULTS).stat().st_mtime, reverse=True):
        difference = _difference(config, folder)
        if difference is None:
            rank_zero_only(print)(f"starting from the averaged weights of {folder}", file=sys.stderr)
            return str(folder / "adapter")
        others.append(f"{folder} has {difference}")
    found = f" (the newest, {others[0]})" if others else ""
    command = f"`lua-lightning train {stage}`" if stage.startswith("stage") else f"a run with stage={stage}"
    raise UserError(
        f"adapter.init_from={wanted} finds no finished {stage} run in {config.runs}/ that fits{found}: "
        f"run {command} first, or name an adapter folder"
    )


def _stage_of(results: Path) -> str | None:
    try:
        return json.loads(results.read_text()).get("stage")
    except (OSError, json.JSONDecodeError):  # being written, or torn by a power cut
        return None


def _difference(config: RunConfig, folder: Path) -> str | None:
    """Return the first setting in which another run's adapter does not fit this one, or None."""
    try:
        other = load_config(RunConfig, folder / CONFIG)
    except UserError as error:
        return f"another version's settings ({error})"
    if config.cache.codec != other.cache.codec:
        return f"cache.codec={other.cache.codec}"
    for name in ("size", "skip"):
        if getattr(config.adapter, name) != getattr(other.adapter, name):
            return f"adapter.{name}={getattr(other.adapter, name)}"
    if set(config.adapter.scales) - set(other.adapter.scales):
        return f"adapter.scales={list(other.adapter.scales)}"
    return None
