"""MLflow: a run is recorded in its own folder first and sent from there, so that training never waits for a server."""

import json
import logging
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import numpy as np
import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from PIL import Image

from lua_lightning.environment import installed_packages, run_info
from lua_lightning.errors import UserError
from lua_lightning.signals import ended_by_signal
from lua_lightning.tracking.address import tracking_uri, without_password
from lua_lightning.tracking.delivery import Sender, Unreachable, check_reachable, connect, explained
from lua_lightning.tracking.records import METRICS_PER_BATCH, State
from lua_lightning.tracking.spool import Spool, now_ms, stored_run_id

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient
from lua_lightning.tracking.connection import (
    Connection,
    WhenConnected,
    ensure_run,
    image_key,
    run_tags,
)
from lua_lightning.tracking.names import (
    IMAGE_KEY_PATTERN,
    NAME_PATTERN,
    PARAMS_PER_BATCH,
    check_name,
    chunks,
    flatten,
    plain_name,
)

log = logging.getLogger(__name__)


DIGEST = 36  # characters of a data set's digest that MLflow takes


class MLflowTracker(Logger):
    """Lightning's logger for one MLflow run.

    Nothing is created before the first use, and only on rank zero. Use it as a context manager, so that a crash outside
    the trainer ends the run too and the last records are sent. Lightning's own `epoch` is not recorded.

    A folder is one run: where it holds records, the run goes on, whatever became of MLflow. Metrics and images of
    steps that it has records of are not recorded again: after a kill at step 137, resuming from a checkpoint at 100
    adds points from 138 on.

    Args:
        experiment: MLflow experiment; made when there is none of that name.
        run_name: Name of the run in MLflow.
        folder: The run's own folder, such as `runs/stage1/`, which receives the spool.
        tags: Tags beside `commit` and `device`; give `stage`.
        root: Folder of the local `mlflow.db` and of the git checkout; the current folder by default.
        system_metrics: Whether to sample processor, memory, disk, network and GPUs during training.
    """

    def __init__(
        self,
        experiment: str,
        run_name: str,
        folder: str | Path,
        *,
        tags: Mapping[str, str] | None = None,
        root: Path | None = None,
        system_metrics: bool = True,
    ) -> None:
        super().__init__()
        self._experiment = experiment
        self._run_name = run_name
        self._folder = Path(folder)
        self._tags = dict(tags or {})
        self._root = root or Path.cwd()
        self._uri = tracking_uri(self._root)
        self._wants_system_metrics = system_metrics
        self._marked: str | None = None
        self._ended: str | None = None
        self._told_undelivered = False
        self._connection: Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave threads and connections behind: a copy in another process continues the same run."""
        if self._connection is not None:
            self._connection.sender.client()  # so that the two do not make the run both
        return {**self.__dict__, "_connection": None}

    def __enter__(self) -> "MLflowTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        status = "success" if error is None else "KILLED" if ended_by_signal(error) else "failed"
        self.finalize(self._ended if self._ended in ("FAILED", "KILLED") else status)

    @property
    def name(self) -> str:
        return self._experiment

    @property
    def version(self) -> str | None:
        return stored_run_id(self._folder)

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    @rank_zero_only
    def run_id(self) -> str | None:
        """The MLflow run's id; the run is created or continued when it was not yet, and waited for.

        None only where MLflow has never had the run and does not answer.
        """
        if self._connection is not None and self._connection.sender.connected:
            return self.version  # nothing is begun again for a run that has ended
        try:
            self._open().sender.client()
        except Unreachable:
            if self._open().sender.refusal is not None:
                raise
        return self.version

    @property
    @rank_zero_only
    def url(self) -> str | None:
        """The run's page on the tracking server, or None for a local file (`make mlflow-ui` opens that)."""
        if not self._uri.startswith("http"):
            return None
        experiment_id = self._open().sender.client().get_run(self.version or "").info.experiment_id
        page = f"experiments/{experiment_id}/runs/{self.version}/model-metrics?workflowType=machine_learning"
        return f"{without_password(self._uri).rstrip('/')}/#/{page}"

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """The MLflow client, waited for at its first use.

        Lightning asks for it as training or validation begins, which sets the run to RUNNING.
        """
        connection = self._open()
        if self._ended is not None:
            connection.spool.append(status="RUNNING")
            self._ended = self._marked = None
        if self._wants_system_metrics:
            connection.system.start()
        return cast("MlflowClient", WhenConnected(connection.sender))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers of one step.

        Raises:
            ValueError: MLflow does not allow a metric's name.
        """
        connection = self._open()
        step = step or 0
        new = {key: float(value) for key, value in metrics.items() if key != "epoch" and connection.is_new(key, step)}
        for key in new:
            check_name("metric", key, NAME_PATTERN)
        for chunk in chunks(new, METRICS_PER_BATCH):
            connection.spool.append(step=step, metrics=chunk)
        connection.sender.start()  # at the first numbers: importing MLflow sooner would delay the first step

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record nested settings as parameters with dotted names; what MLflow has already it does not let change."""
        connection = self._open()
        settings = vars(params) if isinstance(params, Namespace) else params
        new = {key: text for key, text in flatten(settings).items() if key not in connection.params}
        for key in new:
            check_name("parameter", key, NAME_PATTERN)
        connection.params.update(new)
        for chunk in chunks(new, PARAMS_PER_BATCH):
            connection.spool.append(params=chunk)

    @rank_zero_only
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run."""
        self._open().spool.append(tags=dict(tags))

    @rank_zero_only
    def log_input(self, name: str, source: str | Path, sha256: str, context: str) -> None:
        """Record a data set that the run reads, shown in MLflow with its name, digest and place.

        Args:
            name: Of the data set.
            source: Its file or folder.
            sha256: Of its content, in hexadecimal.
            context: What it is read for, such as `training` or `evaluation`.
        """
        self._open().spool.append(
            input={"name": name, "source": str(source), "digest": sha256[:DIGEST], "context": context}
        )

    @rank_zero_only
    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        """Record a picture (uint8, H x W x 3) under a key, which gets a step slider in MLflow.

        Raises:
            ValueError: The array is of another type or shape, or MLflow does not allow the key.
        """
        check_name("image", key, IMAGE_KEY_PATTERN)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image {key!r} must be uint8 of shape (H, W, 3), not {image.dtype} of {image.shape}")
        connection = self._open()
        if not connection.is_new(image_key(key), step):
            return
        name = f"{step}-{now_ms()}-{quote(key, safe='')}.png"
        connection.spool.add_files("image", lambda folder: Image.fromarray(image).save(folder / name, compress_level=1))
        connection.spool.append(image=key, step=step)

    @rank_zero_only
    def log_artifact(self, path: str | Path, artifact_file: str | None = None) -> None:
        """Record a copy of a file or folder, under its own name or as `artifact_file` (a relative path)."""
        copy = shutil.copytree if Path(path).is_dir() else shutil.copyfile
        self._add_artifact(artifact_file or Path(path).name, lambda target: copy(path, target))

    @rank_zero_only
    def log_text(self, text: str, artifact_file: str) -> None:
        """Record text as the file `artifact_file` (a relative path)."""
        self._add_artifact(artifact_file, lambda path: path.write_text(text, encoding="utf-8"))

    @rank_zero_only
    def log_dict(self, content: Mapping[str, Any], artifact_file: str) -> None:
        """Record a dictionary as the JSON file `artifact_file` (a relative path)."""
        self.log_text(json.dumps(content, indent=2) + "\n", artifact_file)

    def _add_artifact(self, artifact_file: str, write: Callable[[Path], object]) -> None:
        def write_tree(folder: Path) -> None:
            path = folder / artifact_file
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)

        self._open().spool.add_files("artifact", write_tree)

    @rank_zero_only
    def log_run_start(self, config_yaml: str, manifest: Path | None = None) -> None:
        """Record what makes the run repeatable: resolved config, versions, commit, installed packages, data manifest.

        A continued run keeps the first record; the new one goes into `resume-1/`, `resume-2/` and so on.

        Raises:
            UserError: Nothing answers at the tracking address, so the run has not begun. What MLflow itself refuses
                (a deleted experiment, a database of another version) is raised by the first call after it has done so.
        """
        resumes = self._open().resumes
        folder = f"resume-{resumes}/" if resumes else ""
        settings = flatten(yaml.safe_load(config_yaml) or {})
        self.log_hyperparams({plain_name(key): value for key, value in settings.items()})  # users name some of the keys
        self.log_text(config_yaml, f"{folder}config.yaml")
        self.log_dict(run_info(self._root), f"{folder}run.json")
        self.log_text("\n".join(installed_packages()) + "\n", f"{folder}environment.txt")
        if manifest is not None:
            self.log_artifact(manifest, f"{folder}data_manifest.json")

    @rank_zero_only
    def mark(self, status: str) -> None:
        """Say how the run ends (FINISHED, FAILED or KILLED), whatever `finalize` is told next."""
        self._marked = status

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """End the run: FINISHED, FAILED, or KILLED when Ctrl-C or a termination signal is what is being handled.

        Waits until MLflow has everything, but not for a server that is away: then says how to send the rest.
        """
        if self._connection is None:
            return
        spool, sender = self._connection.spool, self._connection.sender
        self._connection.system.stop()
        try:
            sender.client()
        except UserError:
            if sender.refusal is not None:
                if status == "success":
                    raise
                return  # this very refusal, most likely, is what ended the run
        self._ended = self._marked or _terminal_status(status)
        spool.append(status=self._ended)
        if not sender.drain() and not self._told_undelivered:
            self._told_undelivered = True
            log.warning(
                "%d records and files did not reach MLflow at %s; `lua-lightning sync %s` sends them once it answers",
                spool.remaining(), without_password(self._uri), self._folder,
            )  # fmt: skip
        sender.stop()

    def _open(self) -> "Connection":
        if self._connection is None:
            self._connection = self._begin()
        sender = self._connection.sender
        if sender.refusal is not None:
            raise sender.refusal
        if sender.connected:
            sender.start()
        return self._connection

    def _begin(self) -> "Connection":
        spool, address = Spool(self._folder), without_password(self._uri)
        mine = {"experiment": self._experiment, "name": self._run_name, "tags": run_tags(self._root, self._tags)}
        goes_on, history = spool.begun, []
        patient = goes_on and spool.state().run_id is not None
        if not patient:
            check_reachable(self._uri)
        if goes_on:
            history = spool.go_on()
            spool.write_state(replace(spool.state(), **mine))
            spool.append(status="RUNNING")
            spool.append(tags=mine["tags"])
        else:
            spool.begin(State(tracking_uri=address, **mine))

        def connected() -> "MlflowClient":
            client = connect(self._uri)
            with explained(self._uri):
                ensure_run(client, spool, self._uri)
            return client

        return Connection(spool, Sender(spool, connected, address, patient), history)


def _terminal_status(status: str) -> str:
    # Lightning ends its loggers with "failed" for Ctrl-C as well, while it handles the exception.
    if status == "failed" and ended_by_signal(sys.exc_info()[1]):
        return "KILLED"
    return {"success": "FINISHED", "failed": "FAILED"}.get(status, status.upper())
