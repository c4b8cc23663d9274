"""What rank zero holds while it is in touch with MLflow."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lua_lightning.errors import UserError
from lua_lightning.tracking.address import without_password
from lua_lightning.tracking.delivery import Sender
from lua_lightning.tracking.spool import Record, Spool
from lua_lightning.tracking.system_metrics import SystemMetrics


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
