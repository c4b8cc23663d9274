"""The records of a run and the state of their delivery: their form, and how MLflow is given them."""

import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from PIL import Image

from lua_lightning.errors import UserError, first_line

if TYPE_CHECKING:  # importing MLflow takes seconds
    from mlflow import MlflowClient

METRICS_PER_BATCH = 1000  # MLflow takes no more

Record = dict[str, Any]


@dataclass(frozen=True)
class State:
    """What is known of a tracked run.

    Attributes:
        tracking_uri: The address, without its password.
        run_id: The run there; None until MLflow has it.
        delivered: Bytes of the records that MLflow has taken.
        spool: Name of the records, which the run bears as a tag.
        experiment: Name of the run's experiment.
        name: Of the run.
        tags: The run's.
    """

    tracking_uri: str = ""
    run_id: str | None = None
    delivered: int = 0
    spool: str = field(default_factory=lambda: uuid.uuid4().hex)
    experiment: str = ""
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Return the state that `tracking.json` holds; that of an older version lacks some of it.

        Raises:
            ValueError: It is of another form.
        """
        try:
            content = json.loads(text)
        except RecursionError as error:
            raise ValueError("it is nested too deep") from error
        if not isinstance(content, dict):
            raise ValueError("it is no state of a tracked run")
        state = cls(**{name: value for name, value in content.items() if name in cls.__dataclass_fields__})
        texts = (state.tracking_uri, state.spool, state.experiment, state.name)
        position = state.delivered
        sound = isinstance(position, int) and position >= 0 and isinstance(state.run_id, (str, type(None)))
        if not sound or not all(isinstance(text, str) for text in texts) or not isinstance(state.tags, dict):
            raise ValueError("it is no state of a tracked run")
        return state


def parsed(line: bytes) -> Record | None:
    """Return the record of a line of `metrics.jsonl`, None for a line that is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("timestamp"), int):
        return None
    if ("metrics" in record or "image" in record) and not isinstance(record.get("step"), int):
        return None
    values = record.get("metrics", {})
    if not isinstance(values, dict) or not all(isinstance(value, (int, float)) for value in values.values()):
        return None
    texts = [record.get("params", {}), record.get("tags", {}), record.get("input", {})]
    sound = all(isinstance(entry, dict) and all(isinstance(text, str) for text in entry.values()) for entry in texts)
    return record if sound else None


def send(client: "MlflowClient", run_id: str, records: list[Record]) -> None:
    """Send records of one kind: many of metrics, or one of another."""
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
        facts = first["input"]
        source = json.dumps({"uri": facts["source"]})
        dataset = Dataset(facts["name"], facts["digest"], source_type="local", source=source)
        client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", facts["context"])])])
    elif first.get("status") == "RUNNING":
        client.update_run(run_id, status="RUNNING")
    elif "status" in first:
        client.set_terminated(run_id, first["status"], end_time=first["timestamp"])


def send_files(client: "MlflowClient", run_id: str, entry: Path) -> None:
    """Send a pending artifact.

    Raises:
        UserError: It holds a picture that cannot be read.
    """
    if entry.name.endswith("-image"):
        try:
            path = next(entry.glob("*.png"))
            step, timestamp, key = path.stem.split("-", 2)
            with Image.open(path) as opened:
                image = opened.copy()
        except (OSError, ValueError, StopIteration) as error:
            raise UserError(f"{entry} cannot be sent ({first_line(error)}): delete it to be rid of it") from error
        client.log_image(run_id, image, key=unquote(key), step=int(step), timestamp=int(timestamp), synchronous=True)
    else:
        client.log_artifacts(run_id, str(entry))
