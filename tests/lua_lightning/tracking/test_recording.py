"""What a tracker records arrives in a real MLflow database."""

import json
import math
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from PIL import Image

from lua_lightning.tracking import system_metrics
from lua_lightning.tracking.names import flatten
from lua_lightning.tracking.spool import stored_run_id
from lua_lightning.tracking.sync import sync
from tests.lua_lightning.tracking.helpers import CONFIG, history, lose_server, tracker_in, vanish


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


def test_flatten_gives_dotted_text():
    settings = {"a": {"b": 1, "c": {"d": [1, 2.5], "e": {}}}, "f": "text", "g": None, "h": True, "i": Path("x/y")}
    assert flatten(settings) == {
        "a.b": "1", "a.c.d": "[1, 2.5]", "a.c.e": "{}", "f": "text", "g": "null", "h": "true", "i": '"x/y"',
    }  # fmt: skip
