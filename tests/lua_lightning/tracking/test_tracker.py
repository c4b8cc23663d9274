"""Tracking against real MLflow databases and real MLflow servers, alive, dead, and killed in mid-run."""

import json
import logging
import math
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningModule, Trainer
from mlflow import MlflowClient
from mlflow.entities import Metric
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from lua_lightning.environment import run_info
from lua_lightning.errors import UserError
from lua_lightning.tracking import delivery, system_metrics
from lua_lightning.tracking import tracker as tracking
from lua_lightning.tracking.address import tracking_uri, unreachable
from lua_lightning.tracking.names import flatten
from lua_lightning.tracking.spool import Spool, stored_run_id
from lua_lightning.tracking.sync import sync
from lua_lightning.tracking.tracker import MLflowTracker

CONFIG = "name: stage1\ntrain:\n  steps: 3\n  betas: [0.9, 0.99]\nnote: " + "x" * 7000 + "\n"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """An MLflow database without runs; making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path, empty_database, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(delivery, "SEND_SECONDS", 0.05)
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def client(root):
    return MlflowClient(f"sqlite:///{root}/mlflow.db")


def tracker_in(root, **options):
    options = {"tags": {"stage": "stage1"}, "system_metrics": False, "root": root, **options}
    return MLflowTracker("lua-lightning", "stage1", root / "runs/stage1", **options)


def history(client, run_id, key):
    return [(point.step, point.value) for point in client.get_metric_history(run_id, key)]


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


class TestAddress:
    def test_is_the_file_in_the_checkout(self, tmp_path, monkeypatch):
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
        monkeypatch.chdir(tmp_path)
        assert tracking_uri() == f"sqlite:///{tmp_path}/mlflow.db"

    def test_is_the_environment_variable_when_set(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
        assert tracking_uri(tmp_path) == "http://mlflow.example:5000"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
        assert tracking_uri() == f"sqlite:///{tmp_path}/other.db"

    def test_where_nothing_listens_is_refused_in_one_sentence(self, root, monkeypatch):
        address = f"http://user:secret@127.0.0.1:{free_port()}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        began = time.monotonic()
        with pytest.raises(UserError) as refusal:
            tracker_in(root).log_run_start(CONFIG)
        assert time.monotonic() - began < 3
        assert address.replace("user:secret@", "") in str(refusal.value)
        assert "refused" in str(refusal.value)
        assert "unset it to record in the local file" in str(refusal.value)
        assert "\n" not in str(refusal.value)
        assert not (root / "runs").exists()

    def test_that_never_answers_is_refused_too(self, root, monkeypatch):
        monkeypatch.setattr("lua_lightning.tracking.address.PROBE_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(UserError, match="timed out"):
                tracker_in(root).log_run_start(CONFIG)

    def test_that_is_no_database_is_refused(self, root):
        (root / "mlflow.db").write_text("not a database, but long enough to be looked at" * 100)
        with pytest.raises(UserError, match=r"file is not a database.*move that file away"):
            tracker_in(root).log_run_start(CONFIG)

    def test_keeps_the_users_own_patience_with_servers(self, root, monkeypatch):
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "33")
        monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
        delivery.connect(tracking_uri(root))
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "33"
        assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"


class TestRecording:
    def test_metrics_arrive_in_order_and_once(self, root, client):
        with tracker_in(root) as tracker:
            for step in range(2500):
                tracker.log_metrics({"train/loss": 1 / (step + 1), "epoch": 0}, step)
            run_id = tracker.run_id
        assert history(client, run_id, "train/loss") == [(step, 1 / (step + 1)) for step in range(2500)]
        assert set(client.get_run(run_id).data.metrics) == {"train/loss"}
        assert client.get_run(run_id).info.status == "FINISHED"

    def test_more_metrics_than_one_request_takes(self, root, client):
        with tracker_in(root) as tracker:
            tracker.log_metrics({f"val/{index}": float(index) for index in range(2001)}, 7)
        assert len(client.get_run(tracker.version).data.metrics) == 2001

    def test_values_that_are_not_finite_stay_so(self, root, client):
        with tracker_in(root) as tracker:
            tracker.log_metrics({"nan": math.nan, "huge": torch.tensor(math.inf)}, 1)
        metrics = client.get_run(tracker.version).data.metrics
        assert math.isnan(metrics["nan"])
        assert metrics["huge"] > 1e308

    @pytest.mark.parametrize("name", ["loss (x2)", "psnr,dB", "", "/psnr", "val//psnr", "val/../psnr", "a" * 251])
    def test_a_name_that_mlflow_refuses_is_refused_at_once(self, root, name):
        with tracker_in(root) as tracker:
            with pytest.raises(ValueError, match="may only contain"):
                tracker.log_metrics({name: 1.0}, 1)
            with pytest.raises(ValueError, match="may only contain"):
                tracker.log_image(name, np.zeros((4, 4, 3), np.uint8), 1)

    def test_images_keep_pixels_key_and_step(self, root, client, tmp_path):
        picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        with tracker_in(root) as tracker:
            tracker.log_image("val/x2 grid", picture, 40)
            tracker.log_image("val/x2 grid", picture, 80)
        names = [item.path for item in client.list_artifacts(tracker.version, "images")]
        full = sorted(name for name in names if name.endswith(".png"))
        assert [name.split("+")[:3] for name in full] == [["images/val~x2 grid", "step", str(s)] for s in (40, 80)]
        stored = Image.open(client.download_artifacts(tracker.version, full[0], str(tmp_path)))
        np.testing.assert_array_equal(np.array(stored), picture)
        assert client.get_run(tracker.version).data.tags["mlflow.loggedImages"] == "True"
        with pytest.raises(ValueError, match="float64"):
            tracker.log_image("val/x2", picture / 255, 1)

    def test_the_start_says_what_made_the_run(self, root, client, tmp_path):
        manifest = tmp_path / "manifest.json"
        manifest.write_text('{"images": []}')
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG, manifest)
        run = client.get_run(tracker.version)
        assert run.info.run_name == "stage1"
        assert run.data.params["train.steps"] == "3"
        assert run.data.params["train.betas"] == "[0.9, 0.99]"
        assert len(run.data.params["note"]) == 6000
        assert run.data.tags["stage"] == "stage1"
        assert run.data.tags["device"]
        assert run.data.tags["commit"] == "unknown"  # the folder is no git checkout
        names = {item.path for item in client.list_artifacts(tracker.version)}
        assert names == {"config.yaml", "run.json", "environment.txt", "data_manifest.json"}
        folder = Path(client.download_artifacts(tracker.version, "", str(tmp_path)))
        assert (folder / "config.yaml").read_text() == CONFIG
        assert f"numpy=={np.__version__}" in (folder / "environment.txt").read_text().splitlines()
        assert json.loads((folder / "run.json").read_text())["versions"]["torch"] == torch.__version__
        assert (root / "mlartifacts/lua-lightning").is_dir()

    def test_inputs_reach_mlflow_once_the_server_is_back(self, root, client):
        tracker = tracker_in(root)
        lose_server(tracker)
        tracker.log_input("photographs", "data/photos", "ab" * 32, "evaluation")
        vanish(tracker)
        sync(root / "runs/stage1")
        (item,) = client.get_run(stored_run_id(root / "runs/stage1")).inputs.dataset_inputs
        assert (item.dataset.name, item.dataset.digest) == ("photographs", "ab" * 18)
        assert json.loads(item.dataset.source) == {"uri": "data/photos"}
        assert {tag.key: tag.value for tag in item.tags} == {"mlflow.data.context": "evaluation"}

    def test_artifacts_and_tags(self, root, client, tmp_path):
        (tmp_path / "last.ckpt").write_bytes(b"weights")
        (tmp_path / "adapter").mkdir()
        (tmp_path / "adapter/config.json").write_text("{}")
        with tracker_in(root) as tracker:
            tracker.log_artifact(tmp_path / "last.ckpt", "checkpoints/last.ckpt")
            tracker.log_artifact(tmp_path / "adapter")
            tracker.log_dict({"psnr": 1}, "results.json")
            tracker.log_text("first", "note.txt")
            tracker.log_text("second", "note.txt")
            tracker.set_tags({"method": "lua"})
        folder = Path(client.download_artifacts(tracker.version, "", str(tmp_path)))
        assert (folder / "checkpoints/last.ckpt").read_bytes() == b"weights"
        assert (folder / "adapter/config.json").read_text() == "{}"
        assert json.loads((folder / "results.json").read_text()) == {"psnr": 1}
        assert (folder / "note.txt").read_text() == "second"
        assert client.get_run(tracker.version).data.tags["method"] == "lua"
        assert not list((root / "runs/stage1/pending").iterdir())

    def test_system_metrics(self, root, client, monkeypatch):
        monkeypatch.setattr(system_metrics, "SYSTEM_SECONDS", 0.1)
        tracker = tracker_in(root, system_metrics=True)
        for _ in range(2):  # as Lightning does for training, then for validation
            assert tracker.experiment is not None
            time.sleep(0.7)
            tracker.finalize()
        points = history(client, tracker.version, "system/cpu_utilization_percentage")
        assert [step for step, _ in points] == list(range(len(points)))
        assert len(points) >= 4
        assert "system/system_memory_usage_megabytes" in client.get_run(tracker.version).data.metrics

    def test_a_monitor_that_breaks_stops_nothing(self, root, client, monkeypatch, caplog):
        class Broken:
            def collect_metrics(self):
                raise RuntimeError("no such counter")

        monkeypatch.setattr(system_metrics, "_monitors", lambda: [Broken()])
        with tracker_in(root, system_metrics=True) as tracker:
            assert tracker.experiment is not None
            tracker.log_metrics({"train/loss": 1.0}, 1)
        assert history(client, tracker.version, "train/loss") == [(1, 1.0)]
        assert "no system metrics from here on (no such counter)" in caplog.text

    def test_other_ranks_are_silent(self, root, monkeypatch, capsys):
        monkeypatch.setattr(rank_zero_only, "rank", 1)
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
            tracker.log_metrics({"train/loss": 1.0}, 1)
            tracker.log_image("val", np.zeros((4, 4, 3), np.uint8), 1)
            assert tracker.run_id is None
        assert not (root / "runs").exists()
        assert capsys.readouterr() == ("", "")

    def test_a_copy_for_another_process_continues_the_run(self, root, client):
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        with pickle.loads(pickle.dumps(tracker)) as copy:
            copy.log_metrics({"train/loss": 0.5}, 2)
            assert copy.run_id == tracker.run_id
        assert history(client, copy.version, "train/loss") == [(1, 1.0), (2, 0.5)]
        tracker.finalize()


class TestStatus:
    def test_finished(self, root, client):
        tracker = tracker_in(root)
        fit(tracker, root)
        assert client.get_run(tracker.version).info.status == "FINISHED"
        assert [step for step, _ in history(client, tracker.version, "train/loss")] == [0, 1, 2, 3, 4]

    def test_failed_by_a_crash(self, root, client):
        tracker = tracker_in(root)
        with pytest.raises(RuntimeError, match="broken"), tracker:
            fit(tracker, root, RuntimeError("broken"))
        assert client.get_run(tracker.version).info.status == "FAILED"
        assert len(history(client, tracker.version, "train/loss")) == 2

    def test_failed_outside_the_trainer(self, root, client):
        def crash(tracker):
            with tracker:
                tracker.log_run_start(CONFIG)
                raise ValueError("no photographs")

        tracker = tracker_in(root)
        with pytest.raises(ValueError, match="no photographs"):
            crash(tracker)
        assert client.get_run(tracker.version).info.status == "FAILED"

    def test_killed_by_ctrl_c(self, root, client):
        handler = signal.getsignal(signal.SIGINT)
        tracker = tracker_in(root)
        try:
            with pytest.raises(SystemExit), tracker:
                fit(tracker, root, KeyboardInterrupt())
        finally:
            signal.signal(signal.SIGINT, handler)  # Lightning leaves it ignored
        assert client.get_run(tracker.version).info.status == "KILLED"

    def test_as_marked(self, root, client):
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        tracker.mark("KILLED")
        tracker.finalize("failed")
        assert client.get_run(tracker.version).info.status == "KILLED"

    def test_running_again_when_training_goes_on(self, root, client):
        tracker = tracker_in(root)
        fit(tracker, root)
        fit(tracker, root, steps=2)
        tracker.experiment  # noqa: B018  what Lightning does as it begins
        while Spool(root / "runs/stage1").remaining():
            time.sleep(0.05)
        assert client.get_run(tracker.version).info.status == "RUNNING"
        tracker.finalize()
        assert client.get_run(tracker.version).info.status == "FINISHED"


class TestResume:
    def test_continues_the_run_without_a_second_point(self, root, client):
        killed = tracker_in(root)
        killed.log_run_start(CONFIG)
        picture = np.zeros((4, 4, 3), np.uint8)
        for step in range(1, 14):
            killed.log_metrics({"train/loss": float(step)}, step)
        killed.log_metrics({"val/x2/psnr": 30.0}, 10)
        killed.log_image("val/x2", picture, 12)
        run_id = killed.run_id
        vanish(killed)

        folder = root / "runs/stage1"
        assert stored_run_id(folder) == run_id
        with tracker_in(root, run_id=stored_run_id(folder)) as resumed:
            resumed.log_run_start(CONFIG.replace("steps: 3", "steps: 20\n  more: 1"))
            assert client.get_run(run_id).info.status == "RUNNING"
            for step in range(11, 21):
                resumed.log_metrics({"train/loss": float(step)}, step)
            resumed.log_metrics({"val/x2/psnr": 31.0}, 20)
            resumed.log_image("val/x2", picture, 12)
            resumed.log_image("val/x2", picture, 20)
        assert resumed.run_id == run_id
        assert history(client, run_id, "train/loss") == [(step, float(step)) for step in range(1, 21)]
        assert history(client, run_id, "val/x2/psnr") == [(10, 30.0), (20, 31.0)]
        images = [item.path for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
        assert sorted(name.split("+")[2] for name in images) == ["12", "20"]
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params["train.steps"] == "3"
        assert run.data.params["train.more"] == "1"
        resumes = {item.path for item in client.list_artifacts(run_id, "resume-1")}
        assert "resume-1/config.yaml" in resumes

    def test_after_a_power_cut_in_mid_line(self, root, client):
        killed = tracker_in(root)
        killed.log_metrics({"train/loss": 1.0}, 1)
        run_id = killed.run_id
        vanish(killed)
        with (root / "runs/stage1/metrics.jsonl").open("a") as file:
            file.write('{"timestamp": 17, "step": 2, "metr')
        with tracker_in(root, run_id=run_id) as resumed:
            resumed.log_metrics({"train/loss": 0.5}, 2)
        assert history(client, run_id, "train/loss") == [(1, 1.0), (2, 0.5)]

    def test_an_unknown_run_is_refused(self, root, monkeypatch):
        with pytest.raises(UserError, match=r"has no run 0123.*train anew"):
            tracker_in(root, run_id="0123").log_run_start(CONFIG)
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/other.db")
        shutil.copy(root / "mlflow.db", root / "other.db")
        MlflowClient(f"sqlite:///{root}/other.db").delete_run(tracker.version)
        with pytest.raises(UserError, match="was deleted"):
            tracker_in(root, run_id=tracker.version).log_run_start(CONFIG)

    def test_a_new_run_leaves_the_old_records_in_peace(self, root, client):
        with tracker_in(root) as first:
            first.log_metrics({"train/loss": 1.0}, 1)
        with tracker_in(root) as second:
            second.log_metrics({"train/loss": 2.0}, 1)
        assert first.version != second.version
        assert history(client, second.version, "train/loss") == [(1, 2.0)]
        assert stored_run_id(root / f"runs/stage1/previous-{first.version[:8]}") == first.version

    def test_a_deleted_experiment_is_named(self, root, client):
        client.delete_experiment(client.create_experiment("lua-lightning"))
        with pytest.raises(UserError, match="mlflow experiments restore"), tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
        with pytest.raises(UserError, match="mlflow experiments restore"):
            fit(tracker_in(root), root)


class TestSlowStart:
    def test_mlflow_is_left_alone_until_the_first_numbers(self, root, client, monkeypatch):
        asked = threading.Event()
        monkeypatch.setattr(tracking, "connect", lambda uri: asked.set() or delivery.connect(uri))
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
            assert tracker.experiment is not None
            assert not asked.wait(0.2)
            tracker.log_metrics({"train/loss": 1.0}, 1)
            assert asked.wait(20)

    def test_training_does_not_wait_for_mlflow(self, root, client, monkeypatch):
        connected = threading.Event()

        def slow_connect(uri):
            connected.wait(20)  # a tracker that waits for it must fail here, not hang
            return delivery.connect(uri)

        monkeypatch.setattr(tracking, "connect", slow_connect)
        with tracker_in(root, system_metrics=True) as tracker:
            tracker.log_run_start(CONFIG)
            assert tracker.experiment is not None
            tracker.log_metrics({"train/loss": 1.0}, 1)
            tracker.set_tags({"method": "lua"})
            assert tracker.version is None
            assert stored_run_id(root / "runs/stage1") is None
            with pytest.raises(UserError, match="ended before MLflow took it"):
                sync(root / "runs/stage1")
            connected.set()
            assert client.get_run(tracker.run_id).info.status == "RUNNING"
            assert tracker.experiment.get_run(tracker.run_id).info.run_id == tracker.run_id
        run = client.get_run(tracker.run_id)
        assert history(client, tracker.run_id, "train/loss") == [(1, 1.0)]
        assert run.data.tags["method"] == "lua"
        assert run.info.start_time <= client.get_metric_history(tracker.run_id, "train/loss")[0].timestamp

    def test_what_mlflow_refuses_after_the_last_record_is_said_at_the_end(self, root, monkeypatch):
        recorded = threading.Event()

        def refuse(*args, **kwargs):
            recorded.wait(20)
            raise PermissionError("no more runs")

        monkeypatch.setattr(MlflowClient, "create_run", refuse)
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        recorded.set()
        with pytest.raises(UserError, match=r"cannot be used \(no more runs"):
            tracker.finalize()

    def test_what_mlflow_refuses_ends_the_training(self, root, client, monkeypatch):
        """A refusal in the background must not be taken for a server that is away for a while."""
        monkeypatch.setattr(MlflowClient, "create_run", FlakyClient.refuse)
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        tracker._connection.sender._connected.wait(20)
        with pytest.raises(UserError, match=r"cannot be used \(no more runs"), tracker:
            tracker.log_metrics({"train/loss": 1.0}, 2)


class TestServerAway:
    def test_training_goes_on_and_nothing_is_lost(self, root, client, monkeypatch, caplog, capsys):
        monkeypatch.setattr(delivery, "PATIENCE_WHEN_AWAY_SECONDS", 1.0)
        folder = root / "runs/stage1"
        slowest = 0.0
        tracker = tracker_in(root)
        tracker.log_run_start(CONFIG)
        tracker.log_metrics({"train/loss": 0.0}, 0)
        with caplog.at_level(logging.WARNING), tracker:
            lose_server(tracker)
            for step in range(1, 31):
                began = time.monotonic()
                tracker.log_metrics({"train/loss": float(step)}, step)
                if step % 10 == 0:
                    tracker.log_image("val/x2", np.zeros((64, 64, 3), np.uint8), step)
                    tracker.log_text("kept", f"note-{step}.txt")
                slowest = max(slowest, time.monotonic() - began)
                time.sleep(0.02)
            tracker.finalize()
            ended = time.monotonic()
        assert time.monotonic() - ended < 1  # it does not wait a second time
        assert slowest < 0.5
        lines = [
            record.getMessage() for record in caplog.records if record.name in (tracking.log.name, delivery.log.name)
        ]
        assert len(lines) == 2
        assert "([Errno 111] Connection refused); training goes on" in lines[0]
        assert f"lua-lightning sync {folder}" in lines[1]
        assert capsys.readouterr() == ("", "")
        assert client.get_run(tracker.version).info.status == "RUNNING"

        assert sync(folder) > 0
        assert sync(folder) == 0
        assert history(client, tracker.version, "train/loss") == [(step, float(step)) for step in range(31)]
        assert client.get_run(tracker.version).info.status == "FINISHED"
        images = [item.path for item in client.list_artifacts(tracker.version, "images") if item.path.endswith(".png")]
        assert len(images) == 3
        assert {"note-10.txt", "note-20.txt", "note-30.txt"} <= {i.path for i in client.list_artifacts(tracker.version)}

    def test_a_broken_delivery_goes_on_where_it_stopped(self, root, client):
        """The position file decides what is sent, not MLflow's own tolerance for repetition."""
        experiment_id = client.create_experiment("broken", artifact_location=(root / "artifacts").as_uri())
        run_id = client.create_run(experiment_id).info.run_id
        spool = Spool(root / "run")
        spool.begin("sqlite:///unused.db", run_id)
        for step in range(3500):
            spool.append(step=step, metrics={"train/loss": float(step)})
        flaky = FlakyClient(client, failing_calls={3, 5})
        for _ in range(2):
            with pytest.raises(ConnectionError):
                spool.deliver(flaky)
        assert spool.deliver(flaky) == 500
        assert [len(batch) for batch in flaky.taken] == [1000, 1000, 1000, 500]
        assert [metric.step for batch in flaky.taken for metric in batch] == list(range(3500))
        assert history(client, run_id, "train/loss") == [(step, float(step)) for step in range(3500)]

    def test_an_artifact_that_mlflow_refuses_does_not_hold_up_the_others(self, root, client):
        run_id = client.create_run(client.create_experiment("x", (root / "artifacts").as_uri())).info.run_id
        spool = Spool(root / "run")
        spool.begin("sqlite:///unused.db", run_id)
        spool.add_files("image", lambda folder: (folder / "1-2-key.png").write_text("no picture"))
        spool.add_files("artifact", lambda folder: (folder / "note.txt").write_text("fine"))
        with pytest.raises(Exception, match="cannot identify image"):
            spool.deliver(client)
        with pytest.raises(Exception, match="cannot identify image"):
            spool.deliver(client)
        assert [item.path for item in client.list_artifacts(run_id)] == ["note.txt"]
        assert spool.remaining() == 1

    def test_mlflow_takes_a_repeated_point_once(self, root, client):
        """What a kill between sending and noting the position leads to."""
        run_id = client.create_run(client.create_experiment("x", (root / "artifacts").as_uri())).info.run_id
        for _ in range(2):
            client.log_batch(run_id, [Metric("loss", 0.5, 1234, 1), Metric("loss", 0.25, 1235, 2)])
        assert history(client, run_id, "loss") == [(1, 0.5), (2, 0.25)]

    def test_sync_needs_a_tracked_run(self, tmp_path):
        with pytest.raises(UserError, match="holds no tracked run"):
            sync(tmp_path)


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


class Server:
    """A real `mlflow server`."""

    def __init__(self, root):
        self.root = root
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [
            sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{self.root}/server.db",
            "--artifacts-destination", str(self.root / "store"),
        ]  # fmt: skip
        log = (self.root / "server.log").open("a")
        self.process = subprocess.Popen(
            command, cwd=self.root, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
        )  # fmt: skip
        deadline = time.monotonic() + 180
        while unreachable(self.uri):
            assert time.monotonic() < deadline, (self.root / "server.log").read_text()
            time.sleep(0.2)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(root, empty_database, monkeypatch):
    shutil.copy(empty_database, root / "server.db")
    server = Server(root)
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    yield server
    if server.process.poll() is None:
        server.kill()


@pytest.mark.slow
def test_a_server_killed_and_restarted_in_mid_run_gets_everything_once(server, root, caplog):
    slowest = 0.0
    with caplog.at_level(logging.WARNING), tracker_in(root) as tracker:
        tracker.log_run_start(CONFIG)
        for step in range(400):
            if step == 100:
                server.kill()
            if step == 250:
                server.start()
            began = time.monotonic()
            tracker.log_metrics({"train/loss": float(step), "train/nan": math.nan}, step)
            if step % 50 == 0:
                tracker.log_image("val/x2", np.full((64, 64, 3), step % 256, np.uint8), step)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.02)
    assert slowest < 0.5
    lines = [record.getMessage() for record in caplog.records if record.name in (tracking.log.name, delivery.log.name)]
    assert len(lines[0].removeprefix(f"MLflow at {server.uri}")) < 300, lines[0]
    assert [("takes no records" in line, "answers again" in line) for line in lines] == [(True, False), (False, True)]
    client = MlflowClient(server.uri)
    assert history(client, tracker.version, "train/loss") == [(step, float(step)) for step in range(400)]
    assert len(history(client, tracker.version, "train/nan")) == 400
    images = [item.path for item in client.list_artifacts(tracker.version, "images") if item.path.endswith(".png")]
    assert sorted(int(name.split("+")[2]) for name in images) == list(range(0, 400, 50))
    info = client.get_run(tracker.version).info
    assert info.status == "FINISHED"
    assert tracker.url.startswith(f"{server.uri}/#/experiments/{info.experiment_id}/runs/{info.run_id}/")


class TestRunInfo:
    def test_names_the_commit_and_whether_files_differ(self, tmp_path):
        git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        assert run_info(tmp_path)["commit"] is None
        subprocess.run([*git, "init", "-q"], check=True)
        assert run_info(tmp_path)["commit"] is None
        (tmp_path / "a.txt").write_text("1")
        subprocess.run([*git, "add", "a.txt"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
        info = run_info(tmp_path)
        assert len(info["commit"]) == 40
        assert info["dirty"] is False
        (tmp_path / "a.txt").write_text("2")
        assert run_info(tmp_path)["dirty"] is True

    def test_says_nothing_about_whose_machine_it_is(self):
        text = json.dumps(run_info())
        assert socket.gethostname() not in text
        assert str(Path.home()) not in text


def test_flatten_gives_dotted_text():
    settings = {"a": {"b": 1, "c": {"d": [1, 2.5], "e": {}}}, "f": "text", "g": None, "h": True, "i": Path("x/y")}
    assert flatten(settings) == {
        "a.b": "1", "a.c.d": "[1, 2.5]", "a.c.e": "{}", "f": "text", "g": "null", "h": "true", "i": '"x/y"',
    }  # fmt: skip
