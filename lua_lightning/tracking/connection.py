"""What rank zero holds while it is in touch with MLflow."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lua_lightning.environment import run_info
from lua_lightning.errors import UserError
from lua_lightning.tracking.address import SQLITE, database_path, without_password
from lua_lightning.tracking.delivery import Sender
from lua_lightning.tracking.spool import Record, Spool
from lua_lightning.tracking.system_metrics import SystemMetrics

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient


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
            location = (database_path(uri).parent / "mlartifacts" / quote(name, safe="")).as_uri()
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


def unknown_run(run_id: str, uri: str, folder: Path) -> str:
    with contextlib.suppress(UserError):
        recorded = Spool(folder).state()["tracking_uri"]
        if recorded != without_password(uri):
            return (
                f"MLflow at {without_password(uri)} has no run {run_id}: it began at {recorded} (MLFLOW_TRACKING_URI)"
            )
    return f"MLflow at {without_password(uri)} has no run {run_id}: train anew instead of resuming"
