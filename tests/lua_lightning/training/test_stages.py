"""Every stage as a whole: its golden curve, its exact resume, where it starts, and the chain of all."""

import dataclasses
import json
import os
import signal
from pathlib import Path

import mlflow
import pytest

from lua_lightning.cli import main
from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import intervals, read_scores
from lua_lightning.locks import is_held
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.signals import Stopped
from lua_lightning.tracking.spool import Spool, stored_run_id
from lua_lightning.training.chain import load_chain, run_chain
from lua_lightning.training.curriculum import supervised_scales
from lua_lightning.training.module import AdapterModule
from lua_lightning.training.train import train
from tests.lua_lightning.training.helpers import Stop, at_step, history, largest_difference, weights

GOLDEN = Path(__file__).parent / "golden"
STAGES = ("stage1", "stage2", "stage3")


def stage_config(stage, settings, *more):
    return load_config(RunConfig, Path(f"experiments/{stage}.yaml"), [*settings, *more])


@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_curve_is_the_golden_one(stage, settings, start):
    """A refactoring must not change it; after a change that means to, write the new curve into the file."""
    more = ["train.steps=20", "validation.every=20", *([] if stage == "stage1" else [start])]
    results = train(stage_config(stage, settings, *more))
    losses = history(results["run_id"], "train/loss")
    golden = [float(line) for line in (GOLDEN / f"{stage}.txt").read_text().split()]
    assert [losses[step] for step in range(20)] == pytest.approx(golden, rel=1e-4)


@pytest.mark.parametrize("stage", ["stage2", "stage3"])
def test_a_resumed_stage_ends_where_it_would_have(stage, settings, start, monkeypatch, tmp_path):
    config = stage_config(stage, settings, start, "train.steps=8", "validation.every=4", "train.joint_fraction=0.3")
    whole = train(config)
    again = dataclasses.replace(config, runs=str(tmp_path / "again"))

    def crash(batch):
        raise Stop

    at_step(monkeypatch, 5, crash)  # one step after a checkpoint, among steps that draw their head
    with pytest.raises(Stop):
        train(again)
    resumed = train(again, resume="auto")
    assert history(resumed["run_id"], "train/loss") == history(whole["run_id"], "train/loss")
    assert largest_difference(weights(whole), weights(resumed)) == 0


def test_terms_are_logged_raw_and_weighted_with_their_gradients(settings, start):
    config = stage_config(
        "stage2", settings, start, "train.steps=4", "validation.every=4", "train.gradient_norms_every=2"
    )
    run_id = train(config)["run_id"]
    total = [0.0] * 4
    for name, weight in config.loss.items():
        raw, weighted = history(run_id, f"train/loss/{name}"), history(run_id, f"train/weighted/{name}")
        for step in range(4):
            assert weighted[step] == pytest.approx(weight * raw[step], rel=1e-5)
            total[step] += weighted[step]
        norms = history(run_id, f"train/gradient_norm/{name}")
        assert set(norms) == {0, 2}
        assert min(norms.values()) > 0
    assert list(history(run_id, "train/loss").values()) == pytest.approx(total, rel=1e-5)
    assert set(history(run_id, "train/out_of_range")) == {0, 1, 2, 3}


def test_the_photograph_can_be_the_target(settings, start):
    """Once the autoencoder is left out of the target, the same windows give another loss, of the same size."""
    short = ["train.steps=2", "validation.every=2", "optim.warmup_steps=1", "cache.train_pixels=true"]
    losses = {
        target: history(
            train(stage_config("stage3", settings, start, *short, f"loss_options.pixel_target={target}"))["run_id"],
            "train/loss/pixel_l1",
        )[0]
        for target in ("decoded", "photo")
    }
    assert losses["photo"] != losses["decoded"]
    assert losses["photo"] < 20 * losses["decoded"]


def test_a_head_that_is_not_drawn_rests(settings, start):
    """With one head a step from the beginning, and momentum, exactly one head moves in one step."""
    config = stage_config(
        "stage3", settings, start, "train.steps=3", "validation.every=3", "train.joint_fraction=0", "optim.ema_decay=0"
    )
    drawn = [supervised_scales(config, step)[0] for step in range(3)]
    results = train(config)
    before = LatentUpscaler.from_pretrained(config.adapter.init_from).state_dict()
    after = weights(results)
    assert set(history(results["run_id"], "train/loss/x2/pixel_l1")) == {n for n in range(3) if drawn[n] == 2}
    for scale in (2, 4):
        moved = any(not before[name].equal(after[name]) for name in before if name.startswith(f"heads.x{scale}."))
        assert moved == (scale in drawn)


def test_stages_start_from_the_newest_run_that_fits(settings, capsys):
    short = ["train.steps=2", "validation.every=2"]
    second = stage_config("stage2", settings, *short, "optim.warmup_steps=1")
    with pytest.raises(
        UserError, match=r"latest:stage1 finds no finished stage1 run .* run `lua-lightning train stage1` first"
    ):
        train(second)
    first = stage_config("stage1", settings, *short, "optim.warmup_steps=1")
    train(first)
    newest = train(dataclasses.replace(first, seed=1))
    one_scale = dataclasses.replace(first, adapter=dataclasses.replace(first.adapter, scales=(2,)))
    train(one_scale)
    capsys.readouterr()
    results = train(second)
    assert f"starting from the averaged weights of {newest['folder']}" in capsys.readouterr().err
    assert mlflow.MlflowClient().get_run(results["run_id"]).data.tags["init_from"] == newest["adapter"]
    light = dataclasses.replace(second, adapter=dataclasses.replace(second.adapter, size="light"))
    with pytest.raises(UserError, match=r"the newest, .* has adapter.size=tiny"):
        train(light)


def test_a_chain_goes_on_after_a_crash_and_reports_every_stage(settings, monkeypatch, tmp_path):
    short = [*settings, "train.steps=4", "validation.every=4"]

    original = AdapterModule.training_step

    def training_step(self, batch, batch_index):
        if self.config.stage == "stage2" and self.global_step == 3:
            raise Stop
        return original(self, batch, batch_index)

    monkeypatch.setattr(AdapterModule, "training_step", training_step)
    path = Path("experiments/chains/full.yaml")
    short.append("stage2:name=full")  # the chain's own name, which must not be taken for the chain
    with pytest.raises(Stop):
        run_chain(path, short)
    monkeypatch.setattr(AdapterModule, "training_step", original)
    report = run_chain(path, short, resume=True)
    runs = tmp_path / "runs"
    assert {folder.name: len(list(folder.iterdir())) for folder in runs.iterdir()} == {
        "full": 2, "stage1": 1, "stage3": 1
    }  # fmt: skip
    card = Path(report["adapter"], "README.md").read_text()
    assert f"**Command**: `lua-lightning chain {path} " in card
    assert card.count("**Training**") == 3
    assert list(report["stages"]) == list(STAGES)
    client = mlflow.MlflowClient()
    parent = client.get_run(report["run_id"])
    assert parent.info.status == "FINISHED"
    for stage, result in report["stages"].items():
        child = client.get_run(result["run_id"])
        assert child.data.tags["mlflow.parentRunId"] == report["run_id"]
        assert child.info.status == "FINISHED"
        for scale in ("x2", "x4"):
            for name in ("psnr", "ssim", "recovery", "perceptual/effnet-lite0"):
                entry = result[scale][name]
                assert entry["low"] <= entry["value"] <= entry["high"]
                assert parent.data.metrics[f"{stage}/{scale}/{name}"] == pytest.approx(entry["value"])
                if "difference" in entry:
                    for key, end in (("difference", "value"), ("low", "low"), ("high", "high")):
                        tracked = parent.data.metrics[f"{stage}/{scale}/{name}/{key}"]
                        assert tracked == pytest.approx(entry["difference"][end])
            assert "value" in result[scale]["lpips/alex"] or "unavailable" in result[scale]["lpips/alex"]
            assert result[scale]["psnr"]["value"] == pytest.approx(child.data.metrics[f"val/{scale}/psnr"])
    (first,) = (runs / "stage1").iterdir()
    (second,) = (path.parent for path in runs.glob("full/*/init_from.txt"))
    assert (second / "init_from.txt").read_text().strip() == str(first / "adapter")
    estimate = intervals(read_scores(first / "scores.json"))["x2/psnr"]
    assert dataclasses.asdict(estimate) == report["stages"]["stage1"]["x2"]["psnr"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_chain_and_its_stage_say_the_same_of_a_signal(settings, monkeypatch, tmp_path, number):
    at_step(monkeypatch, 2, lambda batch: os.kill(os.getpid(), number))
    with pytest.raises(Stopped) as ended:
        run_chain(Path("experiments/stage1.yaml"), [*settings, "train.steps=4", "name=one"])
    assert ended.value.number == number
    stage, chain = sorted((path.parent for path in tmp_path.glob("runs/*/*/config.yaml")), key=is_chain)
    assert ended.value.goes_on.startswith(f"the same command with `--folder {chain}`")
    client = mlflow.MlflowClient()
    for folder in (stage, chain):
        assert client.get_run(stored_run_id(folder)).info.status == "KILLED"
        assert not is_held(folder)


def is_chain(folder):
    return (folder / "stages.json").exists()


@pytest.mark.parametrize(
    "path",
    [*sorted(Path("experiments/chains").glob("*.yaml")), *sorted(Path("experiments/zoo").glob("lua-*.yaml"))],
    ids=lambda path: path.stem,
)
def test_every_chain_file_resolves(path):
    chain, runs = load_chain(path, [])
    assert chain.name == path.stem
    assert runs[0].adapter.init_from is None or runs[0].adapter.transfer
    assert [run.stage for run in runs] == [Path(stage.experiment).stem for stage in chain.stages]


def test_a_wrong_setting_of_a_late_stage_is_refused_before_the_first():
    with pytest.raises(UserError, match="does not fit the patch"):
        load_chain(Path("experiments/chains/full.yaml"), ["train.decode_latents=64"])


@pytest.mark.parametrize("command", ["train", "chain"])
def test_the_same_command_on_a_finished_folder_tells_its_results_again(settings, tmp_path, capsys, command):
    """As after a stop behind the last line of work; other settings are another run."""
    line = [command, "experiments/stage1.yaml", *settings, "train.steps=4", "--folder", str(tmp_path / "own")]
    assert main(line) == 0
    first = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert main(line) == 0
    out, err = capsys.readouterr()
    again = json.loads(out.splitlines()[-1])
    assert {key: again[key] for key in first} == first
    assert "is finished already" in " ".join(err.split())
    assert main([*line, "seed=1"]) == 2
    assert "other settings (seed: 0 -> 1)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["train", "chain"])
def test_what_a_kill_behind_the_results_left_waiting_is_sent_by_the_same_command(settings, tmp_path, capsys, command):
    line = [command, "experiments/stage1.yaml", *settings, "train.steps=4", "--folder", str(tmp_path / "own")]
    assert main(line) == 0
    run_id = json.loads(capsys.readouterr().out.splitlines()[-1])["run_id"]
    spool = Spool(tmp_path / "own")
    spool.append(status="RUNNING")
    spool.add_files("artifact", lambda folder: (folder / "late.txt").write_text("late"))
    assert main(line) == 0
    assert spool.remaining() == 0
    client = mlflow.MlflowClient()
    assert client.get_run(run_id).info.status == "FINISHED"
    assert "late.txt" in [item.path for item in client.list_artifacts(run_id)]
