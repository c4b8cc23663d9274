"""A run that was killed goes on in its own records."""

import logging
import shutil
import threading

import numpy as np
import pytest
from mlflow import MlflowClient

from lua_lightning.errors import UserError
from lua_lightning.files import write_json
from lua_lightning.tracking import delivery
from lua_lightning.tracking import tracker as tracking
from lua_lightning.tracking.address import tracking_uri
from lua_lightning.tracking.connection import ensure_run
from lua_lightning.tracking.records import State
from lua_lightning.tracking.spool import Spool, stored_run_id
from lua_lightning.tracking.sync import sync
from tests.lua_lightning.tracking.helpers import CONFIG, fit, full_disk, history, tracker_in, vanish


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
        with tracker_in(root) as resumed:
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
        with tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 0.5}, 2)
        assert history(client, run_id, "train/loss") == [(1, 1.0), (2, 0.5)]

    def test_a_deleted_run_is_refused(self, root, client):
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
        client.delete_run(tracker.version)
        with pytest.raises(UserError, match="was deleted"):
            _ = tracker_in(root).run_id

    def test_a_run_of_another_address_that_answers_is_refused(self, root, monkeypatch, empty_database):
        with tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
        shutil.copy(empty_database, root / "other.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/other.db")
        with pytest.raises(UserError, match=r"has no run .*it began at sqlite.*mlflow.db \(MLFLOW_TRACKING_URI\)"):
            _ = tracker_in(root).run_id
        with pytest.raises(UserError, match="it began at"):
            sync(root / "runs/stage1")

    def test_a_folder_is_one_run(self, root, client):
        with tracker_in(root) as first:
            first.log_metrics({"train/loss": 1.0}, 1)
        with tracker_in(root) as second:
            second.log_metrics({"train/loss": 2.0}, 2)
        assert first.version == second.version
        assert history(client, second.version, "train/loss") == [(1, 1.0), (2, 2.0)]

    def test_a_kill_before_mlflow_has_answered_loses_nothing(self, root, client, monkeypatch):
        """Twice: the second kill, too, finds the records of the first."""
        for step in (1, 2):
            with monkeypatch.context() as slow:
                slow.setattr(tracking, "connect", lambda uri: threading.Event().wait(60))
                killed = tracker_in(root)
                killed.log_metrics({"train/loss": float(step)}, step)
            assert stored_run_id(root / "runs/stage1") is None
            killed._connection = None
        with tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 3.0}, 3)
        assert history(client, resumed.version, "train/loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
        (run,) = client.search_runs([client.get_experiment_by_name("lua-lightning").experiment_id])
        assert run.info.status == "FINISHED"

    def test_a_kill_between_the_run_and_its_name_makes_no_second_run(self, root, client, monkeypatch):
        def killed(self, state):
            if state.run_id is not None:
                raise SystemExit("killed")

        with monkeypatch.context() as broken:
            broken.setattr(Spool, "write_state", killed)
            spool = Spool(root / "runs/stage1")
            state = State(f"sqlite:///{root}/mlflow.db", experiment="lua-lightning", name="stage1")
            spool.folder.mkdir(parents=True)
            write_json(spool.folder / "tracking.json", vars(state))
            with pytest.raises(SystemExit):
                ensure_run(client, spool, tracking_uri(root))
        with tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 1.0}, 1)
        (run,) = client.search_runs([client.get_experiment_by_name("lua-lightning").experiment_id])
        assert run.info.run_id == resumed.version
        assert run.info.status == "FINISHED"

    def test_sync_sends_a_run_that_mlflow_never_took(self, root, client, monkeypatch):
        with monkeypatch.context() as slow:
            slow.setattr(tracking, "connect", lambda uri: threading.Event().wait(60))
            tracker_in(root).log_metrics({"train/loss": 1.0}, 1)
        assert sync(root / "runs/stage1") > 0
        assert history(client, stored_run_id(root / "runs/stage1"), "train/loss") == [(1, 1.0)]

    @pytest.mark.parametrize("how", ["resume", "sync"])
    def test_a_lost_database_costs_nothing(self, root, empty_database, how):
        picture = np.full((4, 4, 3), 7, np.uint8)
        with tracker_in(root) as first:
            first.log_run_start(CONFIG)
            first.log_metrics({"train/loss": 1.0}, 1)
            first.log_image("val/x2", picture, 1)
            old = first.run_id
        (root / "mlflow.db").unlink()
        if how == "resume":
            with tracker_in(root) as resumed:
                resumed.log_metrics({"train/loss": 2.0}, 2)
        else:
            assert sync(root / "runs/stage1") > 0
        client, run_id = MlflowClient(f"sqlite:///{root}/mlflow.db"), stored_run_id(root / "runs/stage1")
        assert run_id != old
        points = [(1, 1.0), (2, 2.0)] if how == "resume" else [(1, 1.0)]
        assert history(client, run_id, "train/loss") == points
        run = client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert (run.data.params["train.steps"], run.data.tags["stage"]) == ("3", "stage1")
        assert run.data.tags["mlflow.loggedImages"] == "True"
        assert "config.yaml" in {item.path for item in client.list_artifacts(run_id)}
        (image,) = [item for item in client.list_artifacts(run_id, "images") if item.path.endswith(".png")]
        assert "+step+1+" in image.path

    def test_a_damaged_database_does_not_stop_a_run_that_goes_on(self, root, monkeypatch, caplog):
        monkeypatch.setattr(delivery, "PATIENCE_WHEN_AWAY_SECONDS", 0.2)
        with tracker_in(root) as first:
            first.log_metrics({"train/loss": 1.0}, 1)
            old = first.run_id
        (root / "mlflow.db").write_text("not a database, but long enough to be looked at" * 100)
        with caplog.at_level(logging.WARNING), tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 2.0}, 2)
            assert resumed.run_id == old
        lines = [record.getMessage() for record in caplog.records]
        assert sum("file is not a database" in line and "training goes on" in line for line in lines) == 1
        assert f"lua-lightning sync {root / 'runs/stage1'}" in lines[-1]
        with pytest.raises(UserError, match=r"file is not a database.*move that file away"):
            sync(root / "runs/stage1")
        (root / "mlflow.db").rename(root / "damaged.db")
        assert sync(root / "runs/stage1") > 0
        client = MlflowClient(f"sqlite:///{root}/mlflow.db")
        assert history(client, stored_run_id(root / "runs/stage1"), "train/loss") == [(1, 1.0), (2, 2.0)]

    @pytest.mark.parametrize("damage", ["", "[]", '{"run_id": 7}', '{"delivered": -1}', "{", "\udcff"])
    def test_a_damaged_state_is_found_again_by_the_records(self, root, client, damage):
        with tracker_in(root) as first:
            first.log_metrics({"train/loss": 1.0}, 1)
        (root / "runs/stage1/tracking.json").write_bytes(damage.encode("utf-8", "surrogateescape"))
        with tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 2.0}, 2)
        assert resumed.run_id == first.run_id or damage == "{}"
        assert history(client, resumed.version, "train/loss") == [(1, 1.0), (2, 2.0)]

    @pytest.mark.parametrize(
        "line", ["garbage", "[1]", '{"metrics": 3}', '{"timestamp": 1, "metrics": {"a": "b"}}', "{"]
    )
    def test_a_line_that_is_no_record_stops_no_delivery(self, root, client, caplog, line):
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        with (root / "runs/stage1/metrics.jsonl").open("a") as file:
            file.write(line + "\n")
        with caplog.at_level(logging.WARNING), tracker:
            tracker.log_metrics({"train/loss": 2.0}, 2)
        assert history(client, tracker.version, "train/loss") == [(1, 1.0), (2, 2.0)]
        assert client.get_run(tracker.version).info.status == "FINISHED"
        assert sum("no record" in record.getMessage() for record in caplog.records) == 1
        with tracker_in(root) as resumed:
            resumed.log_metrics({"train/loss": 3.0}, 3)
        assert [step for step, _ in history(client, tracker.version, "train/loss")] == [1, 2, 3]

    def test_a_damaged_picture_is_named_not_the_database(self, root):
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        _ = tracker.run_id
        vanish(tracker)
        Spool(root / "runs/stage1").add_files("image", lambda folder: (folder / "1-2-key.png").write_text("no picture"))
        with pytest.raises(UserError, match=r"pending/\d+-image cannot be sent \(cannot identify image") as refusal:
            sync(root / "runs/stage1")
        assert "MLflow" not in str(refusal.value)

    def test_a_full_disk_is_told_in_a_sentence_and_spoils_no_line(self, root, client):
        tracker = tracker_in(root)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        _ = tracker.run_id
        records = root / "runs/stage1/metrics.jsonl"
        with (
            full_disk(records.stat().st_size + 10),
            pytest.raises(UserError, match=r"runs/stage1 cannot be written \((File too large|No space)"),
        ):
            tracker.log_metrics({"train/loss": 2.0}, 2)
        with tracker:
            tracker.log_metrics({"train/loss": 2.0}, 2)
        assert history(client, tracker.version, "train/loss") == [(1, 1.0), (2, 2.0)]

    def test_a_deleted_experiment_is_named(self, root, client):
        client.delete_experiment(client.create_experiment("lua-lightning"))
        with pytest.raises(UserError, match="mlflow experiments restore"), tracker_in(root) as tracker:
            tracker.log_run_start(CONFIG)
        with pytest.raises(UserError, match="mlflow experiments restore"):
            fit(tracker_in(root), root)
