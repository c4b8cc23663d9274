"""A run that was killed goes on in its own records."""

import shutil

import numpy as np
import pytest
from mlflow import MlflowClient

from lua_lightning.errors import UserError
from lua_lightning.tracking.spool import stored_run_id
from tests.lua_lightning.tracking.helpers import CONFIG, fit, history, tracker_in, vanish


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
