"""MLflow servers that go away and come back."""

import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from lua_lightning.errors import UserError
from lua_lightning.tracking import delivery
from lua_lightning.tracking import tracker as tracking
from lua_lightning.tracking.address import unreachable
from lua_lightning.tracking.records import State
from lua_lightning.tracking.spool import Spool
from lua_lightning.tracking.sync import sync
from tests.lua_lightning.tracking.helpers import CONFIG, FlakyClient, free_port, history, lose_server, tracker_in


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
        spool.begin(State("sqlite:///unused.db", run_id))
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
        spool.begin(State("sqlite:///unused.db", run_id))
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
        tracker._open().sender.client()  # a server that is killed before its first answer ends the training
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
