"""What rank zero holds while it is in touch with MLflow."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lua_lightning.environment import run_info
from lua_lightning.errors import UserError
from lua_lightning.tracking.address import SQLITE, database_path, unreachable, without_password
from lua_lightning.tracking.delivery import Sender, alone
from lua_lightning.tracking.records import Record
from lua_lightning.tracking.spool import Spool, now_ms
from lua_lightning.tracking.system_metrics import SystemMetrics

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient
    from mlflow.entities import Run

SPOOL_TAG = "lua_lightning.spool"  # of the MLflow run: the name of its records

log = logging.getLogger(__name__)


class WhenConnected:
    """Stands for the MLflow client and waits for it at the first use."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sender.client(), name)


class Connection:
    """What rank zero holds while it is in touch with MLflow."""

    def __init__(self, spool: Spool, sender: Sender, history: Sequence[Record] = ()) -> None:
        self.spool = spool
        self.sender = sender
        self.resumes = 0
        if history:
            self.resumes = 1 + sum(record.get("status") == "RUNNING" for record in history)
        self.params = {key for record in history for key in record.get("params", ())}
        self.recorded: dict[str, int] = {}
        for record in history:
            keys = [image_key(record["image"])] if "image" in record else record.get("metrics", ())
            for key in keys:
                self.recorded[key] = max(record["step"], self.recorded.get(key, -1))
        sampled = [step for key, step in self.recorded.items() if key.startswith("system/")]
        self.system = SystemMetrics(spool, max(sampled, default=-1) + 1)

    def is_new(self, key: str, step: int) -> bool:
        """Whether a continued run has no value of `key` for this step or a later one."""
        return step > self.recorded.get(key, -1)


def experiment_id(client: "MlflowClient", name: str, uri: str) -> str:
    """Return the id of the experiment called `name`, made when there is none.

    Raises:
        UserError: It was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None
        if uri.startswith(SQLITE):  # MLflow's own choice would be the current folder
            location = artifacts_of(uri, name).as_uri()
        return client.create_experiment(name, artifact_location=location)
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"MLflow experiment {name!r} was deleted: restore it with `mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}`, or choose another name (tracking.experiment)"
        )
    return experiment.experiment_id


def run_tags(root: Path, tags: Mapping[str, str]) -> dict[str, str]:
    """Return `tags` and those of every run: commit, device and source."""
    info = run_info(root)
    commit = f"{info['commit'] or 'unknown'}{'-dirty' if info['dirty'] else ''}"
    found = {"commit": commit, "device": info["device"], "mlflow.source.name": "lua-lightning", **tags}
    if info["commit"]:
        found["mlflow.source.git.commit"] = info["commit"]  # MLflow's own name, for its table of runs
    return found


def image_key(key: str) -> str:
    return f"image {key}"


def ensure_run(client: "MlflowClient", spool: Spool, uri: str) -> str:
    """Return the id of a spool's run in MLflow, which is made where MLflow does not have it.

    A run that MLflow has lost, with its database, is made again and everything that was recorded is sent again.

    Raises:
        UserError: The run or its experiment was deleted, or the run is known at another address that answers.
    """
    with spool.locked():
        state = spool.state()
        lost = None
        if state.run_id is not None:
            found = _find(client, state.run_id)
            if found is not None and found.info.lifecycle_stage == "deleted":
                raise UserError(
                    f"MLflow run {state.run_id} was deleted: restore it in MLflow, or train anew instead of resuming"
                )
            if found is not None:
                if state.tracking_uri != without_password(uri):
                    spool.write_state(replace(state, tracking_uri=without_password(uri)))
                return state.run_id
            if state.tracking_uri != without_password(uri) and _answers(state.tracking_uri):
                raise UserError(
                    f"MLflow at {without_password(uri)} has no run {state.run_id}: it began at {state.tracking_uri} "
                    "(MLFLOW_TRACKING_URI)"
                )
            lost = state.run_id
            log.warning("MLflow has lost run %s; it is made again from %s", lost, spool.records)
        if not state.experiment:
            raise UserError(
                f"{spool.folder} does not say which experiment its run is of (an older version made it, or its "
                "tracking.json is damaged): resume the run, which sends its records"
            )
        with alone(uri):
            experiment = experiment_id(client, state.experiment, uri)
        run_id = _run_of(client, experiment, state.spool)
        if run_id is None:
            tags = {**state.tags, SPOOL_TAG: state.spool}
            began = spool.first_time() or now_ms()
            run_id = client.create_run(experiment, start_time=began, run_name=state.name, tags=tags).info.run_id
        if lost is not None:
            _bring_artifacts(spool, uri, state.experiment, lost)
        delivered = state.delivered if lost is None else 0
        spool.write_state(replace(state, run_id=run_id, delivered=delivered, tracking_uri=without_password(uri)))
        return run_id


def _find(client: "MlflowClient", run_id: str) -> "Run | None":
    """Return a run, None where MLflow does not know it."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _run_of(client: "MlflowClient", experiment: str, spool: str) -> str | None:
    """Return the run that a process made for a spool just before it was killed."""
    found = client.search_runs([experiment], f"tags.`{SPOOL_TAG}` = '{spool}'", max_results=1)
    return found[0].info.run_id if found else None


def _answers(uri: str) -> bool:
    if uri.startswith(SQLITE):
        return database_path(uri).is_file()
    return bool(uri) and unreachable(uri) is None


def _bring_artifacts(spool: Spool, uri: str, experiment: str, run_id: str) -> None:
    """Let the pictures and files of a lost run be sent again, from where a local database kept them."""
    if not uri.startswith(SQLITE):
        return
    kept = artifacts_of(uri, experiment) / run_id / "artifacts"
    if kept.is_dir():
        spool.add_files("artifact", lambda folder: shutil.copytree(kept, folder, dirs_exist_ok=True))
        if (kept / "images").is_dir():
            spool.append(tags={"mlflow.loggedImages": "True"})


def artifacts_of(uri: str, experiment: str) -> Path:
    """Return the folder beside a local database that holds an experiment's artifacts."""
    return database_path(uri).parent / "mlartifacts" / quote(experiment, safe="")
