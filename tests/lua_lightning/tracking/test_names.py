"""The names that MLflow shows."""

from pathlib import Path
from types import SimpleNamespace

from lua_lightning.config import RunConfig
from lua_lightning.tracking.names import NAME_LENGTH, run_name
from lua_lightning.training.train import make_tracker


def test_a_run_is_named_by_what_its_command_changed():
    assert run_name("stage1", []) == "stage1"
    overrides = ["data.photos=data/photos", "train.steps=300", "stage2:name=full", "stage2:loss.pixel_l1=1"]
    assert run_name("stage1", overrides) == "stage1 train.steps=300 stage2:loss.pixel_l1=1"
    assert len(run_name("stage1", ["train.steps=1"] * 100)) == NAME_LENGTH


def test_a_training_says_its_folder_too(tmp_path):
    folder, codec = tmp_path / "runs", SimpleNamespace(source="tiny-d16")
    tracker = make_tracker(RunConfig(name="stage1"), folder, None, codec, None, ["train.steps=3"])
    assert tracker._run_name == "stage1 train.steps=3"
    assert Path(tracker._tags["folder"]) == folder
