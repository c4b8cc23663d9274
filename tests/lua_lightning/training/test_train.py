import contextlib
import dataclasses
import json
import os
import signal
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow.entities import RunStatus

from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import read_scores
from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.signals import Stopped
from lua_lightning.training.averaging import AveragedAdapter
from lua_lightning.training.module import AdapterModule, learning_rate_factor
from lua_lightning.training.train import train
from tests.lua_lightning.training.helpers import Stop, at_step, history, largest_difference, weights

STEPS = 8


@pytest.fixture
def config(tmp_path, photo_folder, codec_folder, cache_config, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    config = load_config(
        RunConfig,
        Path("experiments/stage1.yaml"),
        [
            f"runs={tmp_path / 'runs'}",
            f"data.photos={photo_folder}",
            f"train.steps={STEPS}",
            "train.batch_size=2",
            "train.crop_latents=8",
            "train.log_every=1",
            "train.checkpoint_every=2",
            "train.precision=32-true",
            "validation.every=4",
            "validation.image_keys=2",
            "optim.warmup_steps=2",
            "tracking.system_metrics=false",
        ],
    )
    return dataclasses.replace(config, cache=dataclasses.replace(cache_config, codec=str(codec_folder)))


def only_run():
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    return run


@pytest.fixture
def uninterrupted(config):
    return train(config)


def test_a_run_trains_validates_and_tells(config, uninterrupted):
    results = uninterrupted
    for scale in (2, 4):
        for name in ("psnr", "psnr_bicubic", "psnr_pixel_bicubic", "psnr_ceiling", "ssim", "recovery", "latent_l1"):
            assert f"val/x{scale}/{name}" in results
    assert results["steps"] == STEPS
    assert results["images_per_second"] > 0
    run_id = results["run_id"]
    run = mlflow.MlflowClient().get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage"] == "stage1"
    losses = history(run_id, "train/loss")
    assert sorted(losses) == list(range(STEPS))
    assert set(history(run_id, "val/x2/psnr")) == {3, 7}
    assert history(run_id, "val/x2/psnr").popitem()[1] == pytest.approx(results["val/x2/psnr"])
    total = history(run_id, "train/loss/latent_l1")[3] + 0.1 * history(run_id, "train/loss/latent_fft")[3]
    assert losses[3] == pytest.approx(total, rel=1e-5)
    artifacts = {item.path for item in mlflow.MlflowClient().list_artifacts(run_id)}
    assert {"config.yaml", "data_manifest.json", "environment.txt", "adapter", "images"} <= artifacts
    folder = Path(results["adapter"]).parent
    assert load_config(RunConfig, folder / "config.yaml") == config
    assert json.loads((folder / "results.json").read_text()) == results
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}


def test_the_linear_skip_learns_at_its_own_rate(config, uninterrupted):
    history_of = {name: history(uninterrupted["run_id"], f"lr-AdamW/{name}") for name in ("pg1", "pg2")}
    assert sorted(history_of["pg1"]) == list(range(STEPS))
    for step, rate in history_of["pg1"].items():
        assert history_of["pg2"][step] == pytest.approx(config.optim.skip_rate * rate)


def test_the_checkpoint_leaves_the_codec_out(uninterrupted):
    folder = Path(uninterrupted["adapter"]).parent
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert {name.split(".")[0] for name in checkpoint["state_dict"]} == {"adapter", "ema"}


def test_a_crash_fails_the_run_and_resume_ends_where_it_would_have(config, monkeypatch):
    whole = train(config)
    losses = history(whole["run_id"], "train/loss")
    again = dataclasses.replace(config, runs=config.runs + "-again")
    again.tracking.experiment = "again"

    def crash(batch):
        raise Stop

    at_step(monkeypatch, 5, crash)  # one step after the checkpoint at 4
    with pytest.raises(Stop):
        train(again)
    (folder,) = Path(again.runs).glob("stage1/*")
    run_id = json.loads((folder / "tracking.json").read_text())["run_id"]
    assert mlflow.MlflowClient().get_run(run_id).info.status == "FAILED"

    resumed = train(again, resume="auto")
    assert resumed["run_id"] == run_id
    assert mlflow.MlflowClient().get_run(run_id).info.status == "FINISHED"
    assert history(run_id, "train/loss") == losses
    assert largest_difference(weights(whole), weights(resumed)) == 0
    with pytest.raises(UserError, match="is finished"):
        train(again, resume="auto")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_very_step_and_marks_the_run_killed(config, monkeypatch, uninterrupted, number):
    again = dataclasses.replace(config, runs=config.runs + "-again")
    before = signal.getsignal(signal.SIGINT)  # ignored, when the suite runs in the background of a shell
    at_step(monkeypatch, 6, lambda batch: os.kill(os.getpid(), number))
    with pytest.raises(Stopped) as ended:
        train(again)
    (folder,) = Path(again.runs).glob("stage1/*")
    assert ended.value.code == 128 + number
    assert ended.value.goes_on == f"the same command with `--resume {folder}` (make: RESUME=1) goes on"
    run_id = json.loads((folder / "tracking.json").read_text())["run_id"]
    assert mlflow.MlflowClient().get_run(run_id).info.status == RunStatus.to_string(RunStatus.KILLED)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 7
    assert signal.getsignal(signal.SIGINT) is before
    resumed = train(again, resume=str(folder))
    assert largest_difference(weights(uninterrupted), weights(resumed)) == 0
    assert history(run_id, "train/loss") == history(uninterrupted["run_id"], "train/loss")


def test_resume_refuses_other_settings_and_missing_runs(config, uninterrupted):
    with pytest.raises(UserError, match="no stage1 run in"):
        train(dataclasses.replace(config, name="other"), resume="auto")
    folder = Path(uninterrupted["adapter"]).parent
    (folder / "results.json").unlink()
    changed = dataclasses.replace(config, seed=1)
    with pytest.raises(UserError, match=r"other settings .*seed: 0 -> 1"):
        train(changed, resume="auto")


def test_a_run_cut_off_in_its_last_validation_still_closes(config, monkeypatch):
    original = AdapterModule.on_validation_epoch_end

    def cut_off(self):
        if self.global_step == STEPS:
            monkeypatch.setattr(AdapterModule, "on_validation_epoch_end", original)
            raise Stop
        return original(self)

    monkeypatch.setattr(AdapterModule, "on_validation_epoch_end", cut_off)
    with contextlib.suppress(Stop):
        train(config)
    assert "val/x4/recovery" in train(config, resume="auto")


def test_the_closing_scores_are_of_the_last_step(config, uninterrupted):
    odd = dataclasses.replace(config, validation=dataclasses.replace(config.validation, every=STEPS - 1))
    results = train(odd)
    for scale in (2, 4):
        name = f"val/x{scale}/psnr"
        assert results[name] == uninterrupted[name]
        assert history(results["run_id"], name)[STEPS] == pytest.approx(results[name])
    (crop, *_) = read_scores(Path(results["folder"]) / "scores.json")
    assert "x2/perceptual/effnet-lite0" in crop.values


def test_an_adapter_of_another_codec_is_refused_before_training(config, tmp_path):
    from lua_lightning.models.adapter import AdapterConfig

    LatentUpscaler(AdapterConfig.sized("tiny", channels=16)).save_pretrained(tmp_path / "sixteen")
    config.adapter.init_from = str(tmp_path / "sixteen")
    with pytest.raises(UserError, match=r"16 normalised channels, but .* has 4"):
        train(config)


def test_the_average_is_the_textbook_one():
    adapter = torch.nn.Linear(2, 2)
    averaged = AveragedAdapter(adapter, 0.9, warmup=False)
    expected = adapter.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            adapter.weight.add_(step + 1)
        averaged.update_parameters(adapter)
        expected = adapter.weight.detach().clone() if step == 0 else 0.9 * expected + 0.1 * adapter.weight.detach()
    torch.testing.assert_close(averaged.module.weight, expected)


def test_learning_rates_follow_the_schedules():
    published = load_config(RunConfig, Path("experiments/paper/stage1.yaml")).optim
    factors = [learning_rate_factor(step, 125_000, published) for step in (0, 62_499, 62_500, 93_750, 124_999)]
    assert factors == [1, 1, 0.5, 0.25, 0.125]
    quick = load_config(RunConfig, Path("experiments/stage1.yaml")).optim
    assert learning_rate_factor(0, 700, quick) == pytest.approx(1 / quick.warmup_steps)
    assert learning_rate_factor(quick.warmup_steps, 700, quick) == 1
    assert learning_rate_factor(700, 700, quick) == pytest.approx(0)


def test_a_stop_inside_an_accumulated_step_waits_for_its_end_and_resumes_exactly(config, monkeypatch):
    """Four batches make a step: stopped after two of them, the resumed run must see the samples that come next."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, accumulate=4))
    whole = train(config)
    again = dataclasses.replace(config, runs=config.runs + "-again")
    seen = []
    original = AdapterModule.training_step

    def training_step(self, batch, batch_index):
        if batch_index == 13 and not seen:  # the second batch of step 3
            seen.append(batch_index)
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, batch_index)

    monkeypatch.setattr(AdapterModule, "training_step", training_step)
    with pytest.raises(SystemExit):
        train(again)
    (folder,) = Path(again.runs).glob("stage1/*")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    resumed = train(again, resume="auto")
    assert history(resumed["run_id"], "train/loss") == history(whole["run_id"], "train/loss")
    assert largest_difference(weights(whole), weights(resumed)) == 0


def test_a_raw_adapter_is_trained_further_with_its_first_convolution(config, codec, tmp_path):
    """As the authors' weights are: they keep their space, and their range is that of raw latents."""
    settings = {"channels": codec.channels, "depths": (1,), "skip": "none", "space": "raw"}
    start = LatentUpscaler(AdapterConfig.sized("tiny", **settings))
    start.save_pretrained(tmp_path / "raw")
    config.adapter.init_from, config.adapter.skip = str(tmp_path / "raw"), "none"
    results = train(config)
    trained = LatentUpscaler.from_pretrained(results["adapter"])
    assert trained.config.space == "raw"
    moved = (trained.conv_first.weight - start.conv_first.weight).abs().max()
    assert 0 < moved < 0.05  # the old one, a few steps further
    cache = build_cache(config.cache, PhotoSet.load(config.data.photos), codec)  # which the training has built
    statistics = cache.manifest["statistics"]
    raw = [[value / 0.7 + 0.2 for value in statistics[end]] for end in ("min", "max")]  # the test codec's factors
    assert torch.tensor(trained.config.latent_range).allclose(torch.tensor(raw).T, atol=1e-4)
    assert results["val/x2/out_of_range"] <= 1
