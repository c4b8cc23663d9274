"""Deliver a spool to MLflow from the background, so that training never waits for a server."""

import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from lua_lightning.errors import UserError, first_line
from lua_lightning.locks import in_turn
from lua_lightning.tracking.address import SQLITE, database_path, unreachable, without_password
from lua_lightning.tracking.database import DAMAGE, make_database
from lua_lightning.tracking.spool import Spool

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

SEND_SECONDS = 2.0
LONGEST_BACKOFF_SECONDS = 30.0
# How long the end of a run waits without seeing any delivery: while MLflow answers, and while it does not.
PATIENCE_SECONDS = 60.0
PATIENCE_WHEN_AWAY_SECONDS = 10.0


class Unreachable(UserError):
    """The tracking address does not answer, or MLflow cannot use it now.

    Args:
        sentence: For the person at the keyboard.
        reason: The part of it that says why.
    """

    def __init__(self, sentence: str, reason: str = "") -> None:
        super().__init__(sentence)
        self.reason = reason


def check_reachable(uri: str) -> None:
    """Refuse a tracking address that does not answer, without importing MLflow.

    Raises:
        Unreachable: It does not answer.
    """
    reason = unreachable(uri)
    if reason is not None:
        raise _refused(uri, reason)


def connect(uri: str) -> "MlflowClient":
    """Return a client of the tracking address that gives up soon; a user's own MLflow settings win.

    Raises:
        Unreachable: The address does not answer, or MLflow does not take it.
    """
    own_settings = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the sender repeats, and says so once
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout belongs to the command's own result
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    for name, value in own_settings.items():
        os.environ.setdefault(name, value)
    check_reachable(uri)
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # prints the traceback of what it raises
    with explained(uri), alone(uri):
        if uri.startswith(SQLITE):
            make_database(database_path(uri), uri)
        return MlflowClient(tracking_uri=uri)


@contextlib.contextmanager
def alone(uri: str) -> Iterator[None]:
    """Keep other processes of this machine from making the same SQLite database, or an experiment in it, at once."""
    with in_turn(Path(f"{database_path(uri)}.lock")) if uri.startswith(SQLITE) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises inside into one `Unreachable` that says how to mend it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # MLflow, SQLAlchemy, requests and alembic each raise their own
        raise _refused(uri, _reason(error)) from error


def _reason(error: BaseException) -> str:
    """Return what went wrong at the bottom ("Connection refused"), not how four libraries passed it on."""
    if isinstance(error, Unreachable):
        return error.reason
    reason = error
    cause: BaseException | None = error
    while cause := cause.__cause__ or cause.__context__:
        if isinstance(cause, (OSError, sqlite3.Error, HTTPError)):
            reason = cause
    return first_line(reason)


def _refused(uri: str, reason: str) -> Unreachable:
    mend = "start the server, correct MLFLOW_TRACKING_URI, or unset it to record in the local file mlflow.db"
    if uri.startswith(SQLITE):
        mend = "make room on its disk or mend it, or set MLFLOW_TRACKING_URI to another address"
        if any(sign in reason for sign in DAMAGE):
            mend = "move that file away to begin a new one, and `lua-lightning sync RUN` sends a run's records again"
    return Unreachable(f"MLflow at {without_password(uri)} cannot be used ({reason}): {mend}", reason)


class Worker(threading.Thread):
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


class Sender:
    """Delivers a spool from one background thread, however often MLflow goes away and comes back.

    The thread also connects, since importing MLflow takes seconds that training need not wait for. It starts with
    the first call of `start`, `client` or `drain`.

    Args:
        spool: What to deliver.
        begin: Connects and makes sure that the run is there; what it raises as `UserError` is kept in `refusal`.
        address: The tracking address, for messages.
        patient: Whether an address that does not answer at first is tried again, as for a run that goes on.
    """

    def __init__(self, spool: Spool, begin: Callable[[], "MlflowClient"], address: str, patient: bool = False) -> None:
        self._spool = spool
        self._begin = begin
        self._address = address
        self._client: MlflowClient | None = None
        self._patient = patient
        self._tried = threading.Event()
        self.refusal: UserError | None = None
        self._pause = SEND_SECONDS
        self._thread: Worker | None = None
        self._patience_when_away = PATIENCE_WHEN_AWAY_SECONDS
        self.away = False

    @property
    def connected(self) -> bool:
        """Whether MLflow has taken the run."""
        return self._client is not None

    def client(self) -> "MlflowClient":
        """Return the client, once connected.

        Raises:
            Unreachable: MLflow does not answer now; records wait for it.
            UserError: MLflow did not take the run.
        """
        self.start()
        self._tried.wait()
        if self._client is None:
            raise self.refusal or Unreachable(f"MLflow at {self._address} does not answer")
        return self._client

    def start(self) -> Worker:
        if self._thread is None or not self._thread.is_alive():
            self._thread = Worker(self._deliver, "mlflow-sender")
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

    def _connect(self) -> "MlflowClient | None":
        if self._client is None and self.refusal is None:
            try:
                self._client = self._begin()
            except Unreachable as error:
                if self._patient:
                    raise
                self.refusal = error
            except UserError as error:
                self.refusal = error
            finally:
                self._tried.set()
        return self._client

    def _deliver(self) -> float:
        try:
            client = self._connect()
            if client is None:
                return threading.TIMEOUT_MAX
            self._spool.deliver(client)
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
