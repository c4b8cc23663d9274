"""What the tests of tracking share: a tracker, a small real training, and a server that goes away."""

import contextlib
import signal
import socket

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from mlflow import MlflowClient
from torch.utils.data import DataLoader, TensorDataset

from lua_lightning.tracking.tracker import MLflowTracker

CONFIG = "name: stage1\ntrain:\n  steps: 3\n  betas: [0.9, 0.99]\nnote: " + "x" * 7000 + "\n"


def tracker_in(root, **options):
    options = {"tags": {"stage": "stage1"}, "system_metrics": False, "root": root, **options}
    return MLflowTracker("lua-lightning", "stage1", root / "runs/stage1", **options)


def history(client, run_id, key):
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


@contextlib.contextmanager
def full_disk(bytes_of_a_file):
    """Let no file of this process grow beyond a size, as on a full disk."""
    resource = pytest.importorskip("resource")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_of_a_file, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lose_server(tracker):
    """Let the tracker's sender talk to a port where nothing listens any more."""
    tracker._open().sender.client()
    tracker._connection.sender._client = MlflowClient(f"http://127.0.0.1:{free_port()}")


def vanish(tracker):
    """Leave a tracker as a killed process does: nothing finalized, nothing sent any more."""
    tracker._connection.sender.stop()
    tracker._connection = None


class Regression(LightningModule):
    """A real model of one weight; `fault` is raised in the third batch."""

    def __init__(self, fault=None):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.fault = fault

    def training_step(self, batch, batch_idx):
        if self.fault is not None and batch_idx == 2:
            raise self.fault
        loss = (self.layer(batch[0]) - batch[0]).square().mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(tracker, root, fault=None, steps=5):
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, logger=tracker, log_every_n_steps=1, default_root_dir=root,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Regression(fault), DataLoader(TensorDataset(torch.ones(20, 1)), batch_size=2))


class FlakyClient:
    """A real client whose connection breaks in chosen calls of `log_batch`."""

    def __init__(self, client, failing_calls):
        self.client = client
        self.failing_calls = failing_calls
        self.calls = 0
        self.taken = []

    @staticmethod
    def refuse(*args, **kwargs):
        raise PermissionError("no more runs")

    def log_batch(self, run_id, metrics, synchronous):
        self.calls += 1
        if self.calls in self.failing_calls:
            raise ConnectionError("connection reset")
        self.client.log_batch(run_id, metrics=metrics, synchronous=synchronous)
        self.taken.append(metrics)
