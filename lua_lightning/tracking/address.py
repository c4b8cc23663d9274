"""The tracking address: which one is used, how it is shown, and whether it answers."""

import contextlib
import http.client
import os
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from lua_lightning.errors import first_line

SQLITE = "sqlite:///"


PROBE_SECONDS = 5.0


def tracking_uri(root: Path | None = None) -> str:
    """Return `MLFLOW_TRACKING_URI` when it is set, else the SQLite file `mlflow.db` in `root` (the current folder)."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}{(root or Path.cwd()) / 'mlflow.db'}"
    if uri.startswith(SQLITE):  # absolute, for it is stored and used from elsewhere
        return f"{SQLITE}{database_path(uri).as_posix()}"
    return uri


def database_path(uri: str) -> Path:
    """Return the absolute path of the file behind a SQLite address."""
    return Path(uri.removeprefix(SQLITE)).resolve()


def without_password(uri: str) -> str:
    """Return `uri` as it may be shown and stored."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def unreachable(uri: str) -> str | None:
    """Return why the tracking address does not answer within `PROBE_SECONDS`, or None when it does.

    A database file that is not there yet answers when it could be created. Addresses other than web servers and SQLite
    files are not tried.
    """
    try:
        if uri.startswith(SQLITE):
            _probe_database(database_path(uri))
        elif uri.startswith(("http://", "https://")):
            with contextlib.suppress(urllib.error.HTTPError):  # any answer is an answer, a refusal too
                urllib.request.urlopen(without_password(uri).rstrip("/") + "/health", timeout=PROBE_SECONDS).close()
    except (OSError, sqlite3.Error, http.client.HTTPException, ValueError) as error:
        return first_line(getattr(error, "reason", error))
    return None


def _probe_database(path: Path) -> None:
    if path.exists():
        with contextlib.closing(sqlite3.connect(path, timeout=PROBE_SECONDS)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OSError(f"{path} cannot be written")
