"""Send a run's records that MLflow has not received."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.tracking.address import tracking_uri
from lua_lightning.tracking.connection import ensure_run
from lua_lightning.tracking.delivery import connect, explained
from lua_lightning.tracking.spool import Spool


def sync(folder: str | Path) -> int:
    """Send what a run's folder holds and MLflow does not have yet; return how many records and files that were.

    They go to `MLFLOW_TRACKING_URI` when it is set, else to where the run began. A run that MLflow never had, or has
    lost, is made there.

    Raises:
        UserError: The folder holds no tracked run, or MLflow does not take the records.
    """
    spool = Spool(Path(folder))
    state = spool.state()
    uri = tracking_uri() if os.environ.get("MLFLOW_TRACKING_URI") else state.tracking_uri or tracking_uri()
    client = connect(uri)
    with explained(uri):
        ensure_run(client, spool, uri)
        return spool.deliver(client)


def finish(folder: str | Path) -> None:
    """Send what the folder of a finished run still holds, as where a kill came between its results and their delivery.

    Where MLflow does not take it, a line on stderr says how to send it later.
    """
    spool = Spool(Path(folder))
    if not spool.begun:
        return
    if spool.last_status() != "FINISHED":
        spool.append(status="FINISHED")
    if not spool.remaining():
        return
    try:
        sync(folder)
    except UserError as error:
        print(f"{error}; `lua-lightning sync {folder}` sends the records that wait in it", file=sys.stderr)


def add(folder: Path, *, tags: Mapping[str, str] | None = None, metrics: Mapping[str, float] | None = None) -> bool:
    """Record more of a run that has ended, and return whether MLflow has it; if not, `sync` sends it later."""
    spool = Spool(folder)
    if tags:
        spool.append(tags=dict(tags))
    if metrics:
        spool.append(step=0, metrics=dict(metrics))
    try:
        sync(folder)
    except UserError:
        return False
    return True
