"""Send a run's records that MLflow has not received."""

import os
from pathlib import Path

from lua_lightning.errors import UserError
from lua_lightning.tracking.address import tracking_uri
from lua_lightning.tracking.connection import unknown_run
from lua_lightning.tracking.delivery import connect, explained
from lua_lightning.tracking.spool import Spool


def sync(folder: str | Path) -> int:
    """Send what a run's folder holds and MLflow does not have yet; return how many records and files that were.

    They go to `MLFLOW_TRACKING_URI` when it is set, else to where the run began.

    Raises:
        UserError: The folder holds no tracked run, or MLflow does not take the records.
    """
    spool = Spool(Path(folder))
    state = spool.state()
    if state["run_id"] is None:
        raise UserError(f"{spool.folder} holds a run that ended before MLflow took it: there is nothing to send it to")
    if not spool.remaining():
        return 0
    uri = tracking_uri() if os.environ.get("MLFLOW_TRACKING_URI") else state["tracking_uri"]
    client = connect(uri)
    try:
        client.get_run(state["run_id"])
    except Exception as error:
        raise UserError(unknown_run(state["run_id"], uri, spool.folder)) from error
    with explained(uri):
        return spool.deliver(client)
