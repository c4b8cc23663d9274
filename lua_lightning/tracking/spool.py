"""The spool: what a run wants recorded, kept in its own folder until MLflow has taken it."""

import contextlib
import errno
import json
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lua_lightning.errors import UserError, first_line
from lua_lightning.files import write_json
from lua_lightning.tracking.records import METRICS_PER_BATCH, Record, State, parsed, send, send_files

try:
    import fcntl
except ImportError:  # Windows has no file locks of this kind; there `sync` must wait for the run's end
    fcntl = None

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient

RECORDS_NAME = "metrics.jsonl"
PENDING_NAME = "pending"
STATE_NAME = "tracking.json"

log = logging.getLogger(__name__)


class Spool:
    """What a run wants recorded, kept in its folder until MLflow has it.

    `metrics.jsonl` holds one record a line, in the order of logging, and stays: from it a run can be sent again, whole.
    Its first record names the spool, so that MLflow can be asked for its run. `pending/` holds one folder per artifact
    and vanishes with its delivery. `tracking.json` names the address, the run, and how many bytes of `metrics.jsonl`
    MLflow has taken; where it is lost, everything is sent again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = folder / RECORDS_NAME
        self.pending = folder / PENDING_NAME
        self._append_lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._told: set[int] = set()

    @property
    def begun(self) -> bool:
        """Whether the folder holds a tracked run."""
        with contextlib.suppress(UserError):
            return bool(self.state())
        return False

    def state(self) -> State:
        """Return what is known of the run.

        Raises:
            UserError: The folder holds no tracked run.
        """
        path = self.folder / STATE_NAME
        try:
            return State.from_json(path.read_text())
        except (OSError, ValueError, TypeError) as error:
            identity = self._identity()
            if identity is None:
                reason = first_line(error) if path.exists() else "no such file"
                raise UserError(f"{self.folder} holds no tracked run ({path.name}: {reason})") from error
            if path.exists():
                log.warning("%s is damaged (%s); what MLflow has of the run is found by its records", path, error)
            return State(spool=identity)

    def write_state(self, state: State) -> None:
        """Replace what is known of the run."""
        write_json(self.folder / STATE_NAME, vars(state), indent=None)

    def begin(self, state: State) -> None:
        """Make the folder ready for a new run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_state(state)
        self.append(spool=state.spool)

    def go_on(self) -> list[Record]:
        """Make the folder ready to continue its run, and return what was recorded of it.

        Raises:
            UserError: The folder holds no tracked run.
        """
        state = self.state()
        for unfinished in self.pending.glob(".*"):
            shutil.rmtree(unfinished)
        content = self.records.read_bytes() if self.records.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # a line that a power cut tore
            os.truncate(self.records, whole)
        self.write_state(replace(state, delivered=min(state.delivered, whole)))
        return [record for line in content[:whole].splitlines() if (record := parsed(line)) is not None]

    def first_time(self) -> int | None:
        """Return when the first record was made, in milliseconds since 1970; None where there is none."""
        with contextlib.suppress(OSError), self.records.open("rb") as file:
            return next((record["timestamp"] for line in file if (record := parsed(line)) is not None), None)
        return None

    def last_status(self) -> str | None:
        """Return the status that was recorded last, None where there is none."""
        with contextlib.suppress(OSError), self.records.open("rb") as file:
            found = [record["status"] for line in file if (record := parsed(line)) is not None and "status" in record]
            return found[-1] if found else None
        return None

    def _identity(self) -> str | None:
        with contextlib.suppress(OSError), self.records.open("rb") as file:
            record = parsed(file.readline())
            return None if record is None else str(record.get("spool", record["timestamp"]))
        return None

    def append(self, **record: Any) -> None:
        """Add one record, stamped with the time; it survives the process from here on.

        Raises:
            UserError: The disk does not take it.
        """
        line = (json.dumps({"timestamp": now_ms(), **record}) + "\n").encode()
        with self._append_lock, self._writing(), self.records.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            if file.write(line) < len(line):
                file.truncate(before)  # half a line would spoil the next one too
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def add_files(self, kind: str, write: Callable[[Path], object]) -> None:
        """Add an `artifact` (a tree of files) or an `image` (one PNG): `write` fills the folder it is given."""
        name = f"{time.time_ns():020d}-{kind}"
        unfinished = self.pending / f".{name}"
        with self._writing():
            try:
                unfinished.mkdir(parents=True)
                write(unfinished)
                unfinished.rename(self.pending / name)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror or error}): make room there and go on"
            ) from error

    def remaining(self) -> int:
        """Return how many records and artifacts MLflow does not have yet."""
        records = 0
        if self.records.exists():
            with self.records.open("rb") as file:
                file.seek(self.state().delivered)
                records = file.read().count(b"\n")
        return records + len(self._entries())

    def deliver(self, client: "MlflowClient") -> int:
        """Send all that MLflow does not have yet, in order; return how many records and artifacts that were.

        What was sent before a failure is never sent again. Of two processes that deliver, one waits.
        """
        with self.locked():
            state = self.state()
            if state.run_id is None:
                raise UserError(f"{self.folder} has no run in MLflow yet")
            sent = 0
            for records, end in self._batches(state.delivered):
                if records:
                    send(client, state.run_id, records)
                self.write_state(replace(state, delivered=end))
                sent += len(records)
            for entry in self._entries():
                try:
                    send_files(client, state.run_id, entry)
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
        """Yield the records after `position`, each batch with the position after it: metrics together, others alone.

        A line that is no record is passed over, and said once.
        """
        if not self.records.exists():
            return
        with self.records.open("rb") as file:
            file.seek(position)
            batch: list[Record] = []
            size, given = 0, position
            for line in file:
                if not line.endswith(b"\n"):  # being written
                    break
                record = parsed(line)
                if record is None:
                    self._tell(position)
                    position += len(line)
                    continue
                more = len(record["metrics"]) if "metrics" in record else METRICS_PER_BATCH
                if batch and size + more > METRICS_PER_BATCH:
                    yield batch, position
                    batch, size, given = [], 0, position
                batch.append(record)
                size += more
                position += len(line)
            if position > given:
                yield batch, position

    def _tell(self, position: int) -> None:
        if position not in self._told:
            self._told.add(position)
            log.warning("%s holds a line that is no record, at byte %d; it is passed over", self.records, position)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time speak for the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{STATE_NAME}.lock").open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def stored_run_id(folder: str | Path) -> str | None:
    """Return the id of the MLflow run that a run's folder belongs to, or None when it holds none."""
    with contextlib.suppress(UserError):
        return Spool(Path(folder)).state().run_id
    return None
