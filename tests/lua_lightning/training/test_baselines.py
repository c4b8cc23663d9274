"""Baselines as runs of their own: the adapter's names, so that one chart holds both."""

from dataclasses import replace

from lua_lightning.config import RunConfig
from lua_lightning.training.baselines import baseline_numbers, record_baselines
from tests.lua_lightning.tracking.conftest import client, empty_database, root  # noqa: F401

NUMBERS = {
    "val/x2/psnr": 30.0, "val/x2/psnr_bicubic": 26.0, "val/x2/psnr_pixel_bicubic": 29.0, "val/x2/psnr_ceiling": 33.0,
    "val/x2/psnr_photo_bicubic": 31.0, "val/x2/latent_l1": 0.1, "val/x2/latent_l1_bicubic": 0.2, "steps": 400,
}  # fmt: skip


def test_a_row_has_its_own_numbers_alone():
    assert baseline_numbers(NUMBERS, "_bicubic") == {"val/x2/psnr": 26.0, "val/x2/latent_l1": 0.2}
    assert baseline_numbers(NUMBERS, "_pixel_bicubic") == {"val/x2/psnr": 29.0}


def test_each_baseline_is_a_flat_line_under_the_training(root, client, monkeypatch, tmp_path):  # noqa: F811
    monkeypatch.chdir(root)
    config = RunConfig(name="stage1")
    experiment = client.create_experiment(config.tracking.experiment)
    parent = client.create_run(experiment).info.run_id
    results = {**NUMBERS, "run_id": parent, "folder": str(tmp_path / "run")}
    record_baselines(replace(config), results)
    record_baselines(replace(config), results)  # the same command on a finished folder adds nothing
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {child.info.run_name: child.data.metrics["val/x2/psnr"] for child in children} == {
        "latent-bicubic": 26.0, "pixel-bicubic": 29.0, "ceiling": 33.0, "photo-bicubic": 31.0,
    }  # fmt: skip
    assert len(children) == 4
    points = client.get_metric_history(children[0].info.run_id, "val/x2/psnr")
    assert [point.step for point in points] == [0, 400]


def test_without_a_run_there_is_nothing_below_it(tmp_path):
    record_baselines(RunConfig(), {**NUMBERS, "run_id": None, "folder": str(tmp_path)})
    assert list(tmp_path.iterdir()) == []
