"""MLflow: a run is recorded in its own folder first and sent from there, so that training never waits for a server."""

import contextlib
import json
import logging
import os
import posixpath
import re
import shutil
import sqlite3
import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
import torch
import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image
from urllib3.exceptions import HTTPError

from lua_lightning.doctor import (
    SQLITE,
    database_path,
    first_line,
    installed_packages,
    run_info,
    tracking_uri,
    unreachable,
    without_password,
)
from lua_lightning.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no file locks of this kind; there `sync` must wait for the run's end
    fcntl = None

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

RECORDS_NAME = "metrics.jsonl"
PENDING_NAME = "pending"
STATE_NAME = "tracking.json"
SEND_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 30.0
SYSTEM_SECONDS = 10.0
# How long the end of a run waits without seeing any delivery: while MLflow answers, and while it does not.
PATIENCE_SECONDS = 60.0
PATIENCE_WHEN_AWAY_SECONDS = 10.0
# MLflow's limits.
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
PARAM_LENGTH = 6000
NAME_LENGTH = 250
NAME_PATTERN = re.compile(r"[\w\-. :/]+")
IMAGE_KEY_PATTERN = re.compile(r"[a-zA-Z0-9_\-./ ]+")

Record = dict[str, Any]


def connect(uri: str) -> "MlflowClient":
    """Return a client of the tracking address that gives up soon; a user's own MLflow settings win.

    Raises:
        UserError: The address does not answer, or MLflow does not take it.
    """
    own_settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the sender repeats, and says so once
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to the command's own result
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name, value in own_settings.items():
        os.environ.setdefault(name, value)
    reason = unreachable(uri)
    if reason is not None:
        raise _refused(uri, reason)
    from mlflow import MlflowClient

    with _explained(uri):
        return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests and alembic each raise their own
        raise _refused(uri, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return what went wrong at the bottom ("Connection refused"), not how four libraries passed it on."""
    reason = error
    cause: BaseException | None = error
    while cause := cause.__cause__ or cause.__context__:
        if isinstance(cause, (OSError, sqlite3.Error, HTTPError)):
            reason = cause
    return first_line(reason)


def _refused(uri: str, reason: str) -> UserError:
    mend = "start the server, correct MLFLOW_TRACKING_URI, or unset it to record in the local file mlflow.db"
    if uri.startswith(SQLITE):
        mend = "move that file away to begin a new one, or set MLFLOW_TRACKING_URI to another address"
    return UserError(f"MLflow at {without_password(uri)} cannot be used ({reason}): {mend}")


class Spool:
    """What a run wants recorded, kept in its folder until MLflow has it.

    `metrics.jsonl` holds one record a line, in the order of logging, and stays. `pending/` holds one folder per
    artifact and vanishes with its delivery. `tracking.json` names the address and the run, and how many bytes of
    `metrics.jsonl` MLflow has taken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / RECORDS_NAME
        self.pending = folder / PENDING_NAME
        self._append_lock = threading.Lock()
        self._failures: Counter[str] = Counter()

    def state(self) -> dict[str, Any]:
        """Return `tracking_uri`, `run_id` and `delivered`.

        Raises:
            UserError: The folder holds no tracked run.
        """
        path = self.folder / STATE_NAME
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"{self.folder} holds no tracked run ({path.name}: {first_line(error)})") from error

    def begin(self, uri: str, run_id: str) -> None:
        """Make the folder ready for a new run; what an earlier one left goes into `previous-<start of its id>/`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / STATE_NAME).exists():
            aside = self.folder / f"previous-{(stored_run_id(self.folder) or 'unknown')[:8]}"
            aside.mkdir(exist_ok=True)
            for name in (STATE_NAME, RECORDS_NAME, PENDING_NAME):
                if (self.folder / name).exists():
                    (self.folder / name).replace(aside / name)
        self._write_state(tracking_uri=without_password(uri), run_id=run_id, delivered=0)

    def go_on(self, uri: str, run_id: str) -> list[Record]:
        """Make the folder ready to continue a run, and return what was recorded of it.

        Raises:
            UserError: The folder belongs to another run.
        """
        if not (self.folder / STATE_NAME).exists():
            self.begin(uri, run_id)
        state = self.state()
        if state["run_id"] != run_id:
            raise UserError(f"{self.folder} belongs to MLflow run {state['run_id']}, not to {run_id}")
        for unfinished in self.pending.glob(".*"):
            shutil.rmtree(unfinished)
        content = self.records.read_bytes() if self.records.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # a line that a power cut tore
            os.truncate(self.records, whole)
        self._write_state(
            **{**state, "tracking_uri": without_password(uri), "delivered": min(state["delivered"], whole)}
        )
        return [json.loads(line) for line in content[:whole].splitlines()]

    def append(self, **record: Any) -> None:
        """Add one record, stamped with the time; it survives the process from here on."""
        line = json.dumps({"timestamp": _now_ms(), **record}) + "\n"
        with self._append_lock, self.records.open("ab", buffering=0) as file:
            file.write(line.encode())

    def add_files(self, kind: str, write: Callable[[Path], object]) -> None:
        """Add an `artifact` (a tree of files) or an `image` (one PNG): `write` fills the folder it is given."""
        name = f"{time.time_ns():020d}-{kind}"
        unfinished = self.pending / f".{name}"
        unfinished.mkdir(parents=True)
        write(unfinished)
        unfinished.rename(self.pending / name)

    def remaining(self) -> int:
        """Return how many records and artifacts MLflow does not have yet."""
        records = 0
        if self.records.exists():
            with self.records.open("rb") as file:
                file.seek(self.state()["delivered"])
                records = file.read().count(b"\n")
        return records + len(self._entries())

    def deliver(self, client: "MlflowClient") -> int:
        """Send all that MLflow does not have yet, in order; return how many records and artifacts that were.

        What was sent before a failure is never sent again. Of two processes that deliver, one waits.
        """
        with self._locked():
            state = self.state()
            sent = 0
            for records, end in self._batches(state["delivered"]):
                _send(client, state["run_id"], records)
                self._write_state(**{**state, "delivered": end})
                sent += len(records)
            for entry in self._entries():
                try:
                    _send_files(client, state["run_id"], entry)
                except Exception:
                    self._failures[entry.name] += 1
                    raise
                shutil.rmtree(entry)
                sent += 1
            return sent

    def _entries(self) -> list[Path]:
        """Return the pending artifacts, oldest first; those that MLflow has refused before come last."""
        return sorted(self.pending.glob("[0-9]*"), key=lambda entry: (self._failures[entry.name], entry.name))

    def _batches(self, position: int) -> Iterator[tuple[list[Record], int]]:
        """Yield the records after `position`, each batch with the position after it: metrics together, others alone."""
        if not self.records.exists():
            return
        with self.records.open("rb") as file:
            file.seek(position)
            batch: list[Record] = []
            size = 0
            for line in file:
                if not line.endswith(b"\n"):  # being written
                    break
                record = json.loads(line)
                more = len(record["metrics"]) if "metrics" in record else METRICS_PER_BATCH
                if batch and size + more > METRICS_PER_BATCH:
                    yield batch, position
                    batch, size = [], 0
                batch.append(record)
                size += more
                position += len(line)
            if batch:
                yield batch, position

    def _write_state(self, **state: Any) -> None:
        unfinished = self.folder / f".{STATE_NAME}"
        unfinished.write_text(json.dumps(state) + "\n")
        unfinished.replace(self.folder / STATE_NAME)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / f".{STATE_NAME}.lock").open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _send(client: "MlflowClient", run_id: str, records: list[Record]) -> None:
    from mlflow.entities import Metric, Param, RunTag

    first = records[0]
    if "metrics" in first:
        metrics = [
            Metric(key, value, record["timestamp"], record["step"])
            for record in records
            for key, value in record["metrics"].items()
        ]
        client.log_batch(run_id, metrics=metrics, synchronous=True)
    elif "params" in first:
        client.log_batch(run_id, params=[Param(*item) for item in first["params"].items()], synchronous=True)
    elif "tags" in first:
        client.log_batch(run_id, tags=[RunTag(*item) for item in first["tags"].items()], synchronous=True)
    elif first.get("status") == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    elif "status" in first:
        client.set_terminated(run_id, first["status"], end_time=first["timestamp"])


def _send_files(client: "MlflowClient", run_id: str, entry: Path) -> None:
    if entry.name.endswith("-image"):
        path = next(entry.glob("*.png"))
        step, timestamp, key = path.stem.split("-", 2)
        with Image.open(path) as image:
            client.log_image(
                run_id, image, key=unquote(key), step=int(step), timestamp=int(timestamp), synchronous=True
            )
    else:
        client.log_artifacts(run_id, str(entry))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Worker(threading.Thread):
    """Call `work` now and then until stopped; it returns the seconds to wait before the next call."""

    def __init__(self, work: Callable[[], float], name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._wake = threading.Event()
        self._stopping = False

    def run(self) -> None:
        pause = self._work()
        while not self._stopping:
            self._wake.wait(pause)
            self._wake.clear()
            if not self._stopping:
                pause = self._work()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        self.join(timeout=1)


class _Sender:
    """Delivers a spool from one background thread, however often MLflow goes away and comes back."""

    def __init__(self, spool: Spool, client: "MlflowClient", address: str) -> None:
        self._spool = spool
        self._client = client
        self._address = address
        self._pause = SEND_SECONDS
        self._thread: _Worker | None = None
        self._patience_when_away = PATIENCE_WHEN_AWAY_SECONDS
        self.away = False

    def start(self) -> _Worker:
        if self._thread is None or not self._thread.is_alive():
            self._thread = _Worker(self._deliver, "mlflow-sender")
            self._thread.start()
        return self._thread

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def drain(self) -> bool:
        """Wait until everything is delivered, and return whether it is; give up when nothing moves any more."""
        remaining = self._spool.remaining()
        moved = time.monotonic()
        while remaining:
            if time.monotonic() - moved > (self._patience_when_away if self.away else PATIENCE_SECONDS):
                self._patience_when_away = 0.0  # waiting once is enough
                return False
            self.start().wake()
            time.sleep(0.1)
            before, remaining = remaining, self._spool.remaining()
            if remaining != before:
                moved = time.monotonic()
        return True

    def _deliver(self) -> float:
        try:
            self._spool.deliver(self._client)
        except Exception as error:  # a dead server, a locked database, a deleted run: training goes on in each case
            if not self.away:
                log.warning(
                    "MLflow at %s takes no records (%s); training goes on, they are kept in %s and sent when it does",
                    self._address, _reason(error), self._spool.folder,
                )  # fmt: skip
            self._pause = min(self._pause * 2, LONGEST_BACKOFF_SECONDS) if self.away else 1.0
            self.away = True
            return self._pause
        if self.away:
            log.warning("MLflow at %s answers again; it has all records up to now", self._address)
        self.away = False
        return SEND_SECONDS


class _SystemMetrics:
    """Samples processor, memory, disk, network and GPUs into a spool, under MLflow's own `system/` names."""

    def __init__(self, spool: Spool, first_step: int) -> None:
        self._spool = spool
        self._step = first_step
        self._monitors: list[Any] = []
        self._thread: _Worker | None = None

    def start(self) -> None:
        if self._thread is None:
            self._thread = _Worker(self._sample, "system-metrics")
            self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def _sample(self) -> float:
        try:
            if self._monitors:
                metrics = {f"system/{key}": value for key, value in self._read().items()}
                self._spool.append(step=self._step, metrics=metrics)
                self._step += 1
            else:
                self._monitors = _monitors()
                self._read()  # processor use is measured from one reading to the next
        except Exception as error:  # whatever a driver or the operating system raises, training goes on
            log.warning("no system metrics from here on (%s)", first_line(error))
            return threading.TIMEOUT_MAX
        return SYSTEM_SECONDS

    def _read(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            metrics.update(monitor.aggregate_metrics())
            monitor.clear_metrics()
        return metrics


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    if torch.cuda.is_available():
        try:
            monitors.append(ROCMMonitor() if torch.version.hip else GPUMonitor())
        except Exception as error:  # the vendor's package is missing, or its driver does not answer
            log.warning("system metrics lack the GPUs (%s)", first_line(error))
    return monitors


class MLflowTracker(Logger):
    """Lightning's logger for one MLflow run.

    Nothing is created before the first use, and only on rank zero. Use it as a context manager, so that a crash outside
    the trainer ends the run too and the last records are sent. Lightning's own `epoch` is not recorded.

    Args:
        experiment: MLflow experiment; made when there is none of that name.
        run_name: Name of the run in MLflow.
        folder: The run's own folder, such as `runs/stage1/`, which receives the spool.
        tags: Tags beside `commit` and `device`; give `stage`.
        run_id: Run to continue (see `stored_run_id`). Metrics and images of steps that its folder has records of are
            not recorded again: after a kill at step 137, resuming from a checkpoint at 100 adds points from 138 on.
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
        run_id: str | None = None,
        root: Path | None = None,
        system_metrics: bool = True,
    ) -> None:
        super().__init__()
        self._experiment = experiment
        self._run_name = run_name
        self._folder = Path(folder)
        self._tags = dict(tags or {})
        self._run_id = run_id
        self._root = root or Path.cwd()
        self._uri = tracking_uri(self._root)
        self._wants_system_metrics = system_metrics
        self._marked: str | None = None
        self._ended: str | None = None
        self._told_undelivered = False
        self._connection: _Connection | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave threads and connections behind: a copy in another process continues the same run."""
        return {**self.__dict__, "_connection": None}

    def __enter__(self) -> "MLflowTracker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        status = "success" if error is None else "failed"
        self.finalize(self._ended if self._ended in ("FAILED", "KILLED") else status)

    @property
    def name(self) -> str:
        return self._experiment

    @property
    def version(self) -> str | None:
        return self._run_id

    @property
    def save_dir(self) -> str:
        return str(self._folder)

    @property
    @rank_zero_only
    def run_id(self) -> str | None:
        """The MLflow run's id; the run is created or continued when it was not yet."""
        self._open()
        return self._run_id

    @property
    @rank_zero_only
    def url(self) -> str | None:
        """The run's page on the tracking server, or None for a local file (`make mlflow-ui` opens that)."""
        experiment_id = self._open().experiment_id
        if not self._uri.startswith("http"):
            return None
        page = f"experiments/{experiment_id}/runs/{self._run_id}/model-metrics?workflowType=machine_learning"
        return f"{without_password(self._uri).rstrip('/')}/#/{page}"

    @property
    @rank_zero_experiment
    def experiment(self) -> "MlflowClient":
        """The MLflow client. Lightning asks for it as training or validation begins, which sets the run to RUNNING."""
        connection = self._open()
        if self._ended is not None:
            connection.spool.append(status="RUNNING")
            self._ended = self._marked = None
        if self._wants_system_metrics:
            connection.system.start()
        return connection.client

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
            _check_name("metric", key, NAME_PATTERN)
        for chunk in _chunks(new, METRICS_PER_BATCH):
            connection.spool.append(step=step, metrics=chunk)

    @rank_zero_only
    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Record nested settings as parameters with dotted names; what MLflow has already it does not let change."""
        connection = self._open()
        settings = vars(params) if isinstance(params, Namespace) else params
        new = {key: text for key, text in flatten(settings).items() if key not in connection.params}
        for key in new:
            _check_name("parameter", key, NAME_PATTERN)
        connection.params.update(new)
        for chunk in _chunks(new, PARAMS_PER_BATCH):
            connection.spool.append(params=chunk)

    @rank_zero_only
    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags on the run."""
        self._open().spool.append(tags=dict(tags))

    @rank_zero_only
    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        """Record a picture (uint8, H x W x 3) under a key, which gets a step slider in MLflow.

        Raises:
            ValueError: The array is of another type or shape, or MLflow does not allow the key.
        """
        _check_name("image", key, IMAGE_KEY_PATTERN)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"image {key!r} must be uint8 of shape (H, W, 3), not {image.dtype} of {image.shape}")
        connection = self._open()
        if not connection.is_new(_image_key(key), step):
            return
        name = f"{step}-{_now_ms()}-{quote(key, safe='')}.png"
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
            UserError: The tracking address cannot be used, so the run has not begun.
        """
        resumes = self._open().resumes
        folder = f"resume-{resumes}/" if resumes else ""
        self.log_hyperparams(yaml.safe_load(config_yaml) or {})
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
        self._connection.system.stop()
        self._ended = self._marked or _terminal_status(status)
        spool, sender = self._connection.spool, self._connection.sender
        spool.append(status=self._ended)
        if not sender.drain() and not self._told_undelivered:
            self._told_undelivered = True
            log.warning(
                "%d records and files did not reach MLflow at %s; `lua-lightning sync %s` sends them once it answers",
                spool.remaining(), without_password(self._uri), self._folder,
            )  # fmt: skip
        sender.stop()

    def _open(self) -> "_Connection":
        if self._connection is None:
            client = connect(self._uri)
            with _explained(self._uri):
                self._connection = self._begin(client) if self._run_id is None else self._go_on(client, self._run_id)
        self._connection.sender.start()
        return self._connection

    def _begin(self, client: "MlflowClient") -> "_Connection":
        experiment_id = self._experiment_id(client)
        run = client.create_run(experiment_id, run_name=self._run_name, tags=self._all_tags())
        self._run_id = run.info.run_id
        spool = Spool(self._folder)
        spool.begin(self._uri, self._run_id)
        return _Connection(client, spool, self._uri, experiment_id)

    def _go_on(self, client: "MlflowClient", run_id: str) -> "_Connection":
        try:
            run = client.get_run(run_id)
        except Exception as error:
            raise UserError(_unknown_run(run_id, self._uri, self._folder)) from error
        if run.info.lifecycle_stage == "deleted":
            raise UserError(f"MLflow run {run_id} was deleted: restore it in MLflow, or train anew instead of resuming")
        spool = Spool(self._folder)
        connection = _Connection(client, spool, self._uri, run.info.experiment_id, spool.go_on(self._uri, run_id))
        spool.append(status="RUNNING")
        spool.append(tags=self._all_tags())
        return connection

    def _experiment_id(self, client: "MlflowClient") -> str:
        experiment = client.get_experiment_by_name(self._experiment)
        if experiment is None:
            location = None
            if self._uri.startswith(SQLITE):  # MLflow's own choice would be the current folder
                location = (database_path(self._uri).parent / "mlartifacts" / quote(self._experiment, safe="")).as_uri()
            return client.create_experiment(self._experiment, artifact_location=location)
        if experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"MLflow experiment {self._experiment!r} was deleted: restore it with `mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}`, or choose another name (tracking.experiment)"
            )
        return experiment.experiment_id

    def _all_tags(self) -> dict[str, str]:
        info = run_info(self._root)
        commit = f"{info['commit'] or 'unknown'}{'-dirty' if info['dirty'] else ''}"
        tags = {"commit": commit, "device": info["device"], "mlflow.source.name": "lua-lightning", **self._tags}
        if info["commit"]:
            tags["mlflow.source.git.commit"] = info["commit"]  # MLflow's own name, for its table of runs
        return tags


class _Connection:
    """What rank zero holds while it is in touch with MLflow."""

    def __init__(
        self, client: "MlflowClient", spool: Spool, uri: str, experiment_id: str, history: Sequence[Record] = ()
    ) -> None:
        self.client = client
        self.spool = spool
        self.sender = _Sender(spool, client, without_password(uri))
        self.experiment_id = experiment_id
        self.resumes = 0
        if history:
            self.resumes = 1 + sum(record.get("status") == "RUNNING" for record in history)
        self.params = {key for record in history for key in record.get("params", ())}
        self.recorded: dict[str, int] = {}
        for record in history:
            keys = [_image_key(record["image"])] if "image" in record else record.get("metrics", ())
            for key in keys:
                self.recorded[key] = max(record["step"], self.recorded.get(key, -1))
        sampled = [step for key, step in self.recorded.items() if key.startswith("system/")]
        self.system = _SystemMetrics(spool, max(sampled, default=-1) + 1)

    def is_new(self, key: str, step: int) -> bool:
        """Whether a continued run has no value of `key` for this step or a later one."""
        return step > self.recorded.get(key, -1)


def _image_key(key: str) -> str:
    return f"image {key}"


def _check_name(kind: str, name: str, pattern: re.Pattern[str]) -> None:
    # Refused here, at the call that gave it: MLflow would refuse it later, in the sender, and all that follows with it.
    plain = posixpath.normpath(name) == name and not name.startswith(("/", "."))
    if not pattern.fullmatch(name) or not plain or len(name) > NAME_LENGTH:
        raise ValueError(
            f"{kind} name {name!r} may only contain letters, digits and _ - . / and spaces, be a plain relative path, "
            f"and have at most {NAME_LENGTH} characters"
        )


def _terminal_status(status: str) -> str:
    # Lightning ends its loggers with "failed" for Ctrl-C as well, while it handles the exception.
    if status == "failed" and isinstance(sys.exc_info()[1], (KeyboardInterrupt, SIGTERMException)):
        return "KILLED"
    return {"success": "FINISHED", "failed": "FAILED"}.get(status, status.upper())


def _unknown_run(run_id: str, uri: str, folder: Path) -> str:
    with contextlib.suppress(UserError):
        recorded = Spool(folder).state()["tracking_uri"]
        if recorded != without_password(uri):
            return (
                f"MLflow at {without_password(uri)} has no run {run_id}: it began at {recorded} (MLFLOW_TRACKING_URI)"
            )
    return f"MLflow at {without_password(uri)} has no run {run_id}: train anew instead of resuming"


def stored_run_id(folder: str | Path) -> str | None:
    """Return the id of the MLflow run that a run's folder belongs to, or None when it holds none."""
    with contextlib.suppress(UserError):
        return Spool(Path(folder)).state()["run_id"]
    return None


def sync(folder: str | Path) -> int:
    """Send what a run's folder holds and MLflow does not have yet; return how many records and files that were.

    They go to `MLFLOW_TRACKING_URI` when it is set, else to where the run began.

    Raises:
        UserError: The folder holds no tracked run, or MLflow does not take the records.
    """
    spool = Spool(Path(folder))
    state = spool.state()
    if not spool.remaining():
        return 0
    uri = tracking_uri() if os.environ.get("MLFLOW_TRACKING_URI") else state["tracking_uri"]
    client = connect(uri)
    try:
        client.get_run(state["run_id"])
    except Exception as error:
        raise UserError(_unknown_run(state["run_id"], uri, spool.folder)) from error
    with _explained(uri):
        return spool.deliver(client)


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings under dotted names, as MLflow takes them: strings as they are, all else as JSON, cut."""
    flat: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            flat[f"{prefix}{key}"] = text[:PARAM_LENGTH]
    return flat


def _chunks(items: Mapping[str, Any], size: int) -> Iterator[dict[str, Any]]:
    pairs = iter(items.items())
    while chunk := dict(islice(pairs, size)):
        yield chunk
