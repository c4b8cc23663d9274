"""How a run's status follows what becomes of it, and of MLflow at its start."""

import signal
import threading
import time

import pytest
from mlflow import MlflowClient

from lua_lightning.errors import UserError
from lua_lightning.tracking import delivery
from lua_lightning.tracking import tracker as tracking
from lua_lightning.tracking.spool import Spool, stored_run_id
from lua_lightning.tracking.sync import sync
from tests.lua_lightning.tracking.helpers import CONFIG, FlakyClient, fit, history, tracker_in


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

    def test_a_run_that_has_ended_begins_nothing_when_its_id_is_asked_for(self, root, client):
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
            assert tracker.run_id
        before = threading.active_count()
        assert tracker.run_id == tracker.version
        assert threading.active_count() == before

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
            assert sync(root / "runs/stage1") > 0  # beside the process that still waits: they agree on one run
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
        tracker._connection.sender._tried.wait(20)
        with pytest.raises(UserError, match=r"cannot be used \(no more runs"), tracker:
            tracker.log_metrics({"train/loss": 1.0}, 2)
