"""The folders of training runs: a new one, the one to go on with, and the finished one to start from."""

import contextlib
import datetime
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from lua_lightning.config import RunConfig, load_config
from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.files import PARTIAL, write_json
from lua_lightning.locks import HOLDER, LOCK, alone
from lua_lightning.tracking.sync import finish

CONFIG, RESULTS, SCORES, START = "config.yaml", "results.json", "scores.json", "init_from.txt"
# Hashes of the photographs and of the codec that a run was begun with.
ORIGIN, PHOTOGRAPHS, CODEC = "origin.json", "photographs", "codec"
LATEST = "latest:"  # adapter.init_from=latest:stage1


def is_rank_zero() -> bool:
    """Return whether this process writes the run's files."""
    return getattr(rank_zero_only, "rank", 0) == 0


def new_folder(config: RunConfig) -> Path:
    """Make a fresh folder for a run, named by the time, and return it; other processes than the first make none."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = Path(config.runs) / config.name / stamp
    while is_rank_zero():
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:  # of a run that began in the same second
            folder = folder.with_name(folder.name + "x")
    return folder


def named_folder(folder: Path) -> Path:
    """Return the folder that a user names for a run: a new one, an empty one, or one of a run.

    Raises:
        UserError: It holds something that no run has put there, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--folder {folder} is a file: name a folder")
    if folder.is_dir() and not (folder / CONFIG).is_file():
        others = (path.name for path in folder.iterdir() if path.name not in (LOCK, HOLDER))
        strangers = sorted(name for name in others if not name.endswith(PARTIAL))
        if strangers:
            raise UserError(
                f"--folder {folder} holds {strangers[0]}, which no run made: name a folder that is new or empty"
            )
    return folder


def held(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold a run's folder for this process and those that work with it.

    Raises:
        Busy: Another run holds it.
    """
    return alone(folder) if is_rank_zero() else contextlib.nullcontext()


def begin_or_check(folder: Path, origin: Mapping[str, str]) -> None:
    """Note what a run is made from, or check that a resumed one is made from the same.

    Args:
        folder: Of the run.
        origin: Hash of each thing by its name: `photographs`, `codec`.

    Raises:
        UserError: One of them has changed since the run began.
    """
    noted = folder / ORIGIN
    known = read_json(noted) if noted.is_file() else {}
    for name, value in origin.items():
        if known.get(name, value) != value:
            raise UserError(
                f"the {name} changed since {folder} was begun: bring back what was there, or begin another run"
            )
    if is_rank_zero():
        write_json(noted, dict(origin))


def check_same_photographs(folders: Iterable[Path]) -> None:
    """Refuse runs whose crops have the same numbers but come of different photographs.

    Args:
        folders: Of finished runs; those of before there was such a note are taken as they are.

    Raises:
        UserError: Two of them were made from different photographs.
    """
    noted = [folder for folder in folders if (folder / ORIGIN).is_file()]
    marks = [read_json(folder / ORIGIN).get(PHOTOGRAPHS) for folder in noted]
    for folder, mark in zip(noted, marks, strict=True):
        if mark != marks[0]:
            raise UserError(
                f"{noted[0]} and {folder} were made from different photographs, so their crops cannot be paired: "
                "train one of them again"
            )


class Finished(UserError):
    """The run to go on with has ended already; its results are in its folder."""


def folder_to_resume(config: RunConfig, resume: str) -> Path:
    """Return the run folder to go on with: `resume` itself, or for `auto` the newest of that name and stage.

    Raises:
        Finished: It is finished.
        UserError: There is none, or it was started with other settings.
    """
    home = Path(config.runs) / config.name
    if resume == "auto":
        same = f"stage: {config.stage}"  # a chain and its stages can share a name
        folders = sorted(path.parent for path in home.glob(f"*/{CONFIG}") if same in _lines(path))
        if not folders:
            raise UserError(f"there is no {config.stage} run in {home} to resume: start one without resume")
        folder = folders[-1]
    else:
        folder = Path(resume)
        if not (folder / CONFIG).is_file():
            raise UserError(f"{folder} is not a run folder: it has no {CONFIG}")
    old, new = (dict(_flat(asdict(each))) for each in (load_config(RunConfig, folder / CONFIG), config))
    changed = [f"{key}: {old[key]} -> {value}" for key, value in new.items() if old[key] != value]
    if changed:
        raise UserError(
            f"{folder} was started with other settings ({'; '.join(changed[:3])}): "
            "give the same ones, or start another run"
        )
    if (folder / RESULTS).exists():
        raise Finished(f"{folder} is finished: start another run without resume, or with more steps")
    return folder


def _lines(path: Path) -> list[str]:
    """Return the lines of a file, none where it cannot be read."""
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []


def results_of(folder: Path) -> dict[str, Any]:
    """Return what a finished run noted, and say on stderr that there was nothing left to do but to send its records."""
    rank_zero_only(print)(f"{folder} is finished already: these are its results", file=sys.stderr)
    rank_zero_only(finish)(folder)
    return read_json(folder / RESULTS)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting under its dotted key; the weights of the loss terms are one setting."""
    for key, value in settings.items():
        if isinstance(value, dict) and key != "loss":
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


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
        return read_json(results).get("stage")
    except UserError:  # being written, or torn by a power cut
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
