"""The local SQLite database: made in one step, so that a kill never leaves half of one in the way."""

import contextlib
import itertools
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lua_lightning.files import replacing

DAMAGE = ("file is not a database", "malformed")  # what SQLite says of a file that it cannot read

log = logging.getLogger(__name__)


def make_database(path: Path, uri: str) -> None:
    """Make MLflow's database where there is none, beside its place, and rename it into place.

    Args:
        path: Its file.
        uri: Its address, to whose earlier file, lost since, MLflow may still hold connections.

    MLflow makes its tables in hundreds of steps; half of them, which a kill leaves, can neither be used nor completed.
    Such a file without runs, which another program left, is moved aside.
    """
    if is_half_made(path):
        aside = next(name for name in _asides(path) if not name.exists())
        os.replace(path, aside)
        log.warning("%s was left half made by a kill and holds no runs; it is now %s", path, aside.name)
    _close(uri)
    if path.exists() and path.stat().st_size:
        return
    from mlflow import MlflowClient

    with replacing(path) as partial:
        MlflowClient(tracking_uri=f"sqlite:///{partial}").search_experiments()
        _close(f"sqlite:///{partial}")


def is_half_made(path: Path) -> bool:
    """Return whether a kill left MLflow's tables half made, without a single run."""
    if not path.is_file():
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not tables & {"experiments", "runs", "alembic_version"}:
            return False
        if "runs" in tables and database.execute("SELECT 1 FROM runs LIMIT 1").fetchone():
            return False
        versions = "alembic_version" in tables and database.execute("SELECT 1 FROM alembic_version").fetchone()
        return not versions or any(name.startswith("_alembic_tmp_") for name in tables)
    return False


def _asides(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.half-made-{number}") for number in itertools.count(1))


def _close(uri: str) -> None:
    """Close the connections that MLflow keeps to a database; it opens others as it needs them."""
    with contextlib.suppress(Exception):  # private to MLflow; where that changes, a new process has none
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore._engine_map[uri].dispose()
