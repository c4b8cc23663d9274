"""The spool: what a run wants recorded, kept in its own folder until MLflow has taken it."""

import contextlib
import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from PIL import Image

from lua_lightning.errors import UserError, first_line
from lua_lightning.files import write_json
from lua_lightning.tracking.address import without_password

try:
    import fcntl
except ImportError:  # Windows has no file locks of this kind; there `sync` must wait for the run's end
    fcntl = None

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient

RECORDS_NAME = "metrics.jsonl"
PENDING_NAME = "pending"
STATE_NAME = "tracking.json"
METRICS_PER_BATCH = 1000  # MLflow takes no more

Record = dict[str, Any]


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
        """Return `tracking_uri`, `run_id` (None until MLflow has the run) and `delivered`.

        Raises:
            UserError: The folder holds no tracked run.
        """
        path = self.folder / STATE_NAME
        try:
            return json.loads(path.read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise UserError(f"{self.folder} holds no tracked run ({path.name}: {first_line(error)})") from error

    def begin(self, uri: str, run_id: str | None = None) -> None:
        """Make the folder ready for a new run; what an earlier one left goes into `previous-<start of its id>/`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / STATE_NAME).exists():
            aside = self.folder / f"previous-{(stored_run_id(self.folder) or 'unknown')[:8]}"
            aside.mkdir(exist_ok=True)
            for name in (STATE_NAME, RECORDS_NAME, PENDING_NAME):
                if (self.folder / name).exists():
                    (self.folder / name).replace(aside / name)
        self._write_state(tracking_uri=without_password(uri), run_id=run_id, delivered=0)

    def name_run(self, run_id: str) -> None:
        """Note which MLflow run the records belong to; nothing is delivered before."""
        self._write_state(**{**self.state(), "run_id": run_id})

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
        line = json.dumps({"timestamp": now_ms(), **record}) + "\n"
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
        write_json(self.folder / STATE_NAME, state, indent=None)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / f".{STATE_NAME}.lock").open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _send(client: "MlflowClient", run_id: str, records: list[Record]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

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
    elif "input" in first:
        own = first["input"]
        source = json.dumps({"uri": own["source"]})
        dataset = Dataset(own["name"], own["digest"], source_type="local", source=source)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", own["context"])])])
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


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def stored_run_id(folder: str | Path) -> str | None:
    """Return the id of the MLflow run that a run's folder belongs to, or None when it holds none."""
    with contextlib.suppress(UserError):
        return Spool(Path(folder)).state()["run_id"]
    return None
