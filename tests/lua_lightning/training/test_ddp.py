"""Two gloo processes on the CPU against one process at the same global batch."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lua_lightning.models.adapter import LatentUpscaler
from tests.lua_lightning.training.helpers import history, largest_difference

STEPS = 20


@pytest.fixture
def command(tmp_path, photo_folder, codec_folder, cache_config, cache, monkeypatch):
    """Return a function that runs the command line in a fresh process and returns its closing numbers."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    settings = dataclasses.asdict(dataclasses.replace(cache_config, codec=str(codec_folder)))
    common = [
        f"data.photos={photo_folder}",
        *(f"cache.{name}={value}" for name, value in settings.items() if value is not None),
        f"train.steps={STEPS}",
        f"validation.every={STEPS}",
        "train.crop_latents=8",
        "train.decode_latents=4",
        "train.decode_margin=1",
        "train.log_every=1",
        "train.precision=32-true",
        "train.accelerator=cpu",
        "optim.warmup_steps=2",
        "tracking.system_metrics=false",
    ]

    def run(*arguments, launcher=()):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": uri}
        done = subprocess.run(
            [sys.executable, *(launcher or ("-m",)), "lua_lightning.cli", *arguments, *common],
            env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


def weights(results):
    return LatentUpscaler.from_pretrained(results["adapter"]).state_dict()


@pytest.mark.parametrize("stage", ["stage1", "stage3", "stage4"])
def test_two_processes_train_as_one(stage, command, tmp_path, codec, record_property):
    """Stage III draws heads here: DDP must neither wait for the idle one nor move it."""
    more = []
    if stage != "stage1":
        from lua_lightning.models.adapter import AdapterConfig

        adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=codec.channels, skip="linear"))
        adapter.save_pretrained(tmp_path / "start")
        more = [f"adapter.init_from={tmp_path / 'start'}", "train.joint_fraction=0.4"]
    if stage == "stage4":
        more += ["adversary.start_step=2", "adversary.warmup_steps=4"]
    path = f"experiments/{stage}.yaml"
    one = command("train", path, f"runs={tmp_path / 'one'}", "train.batch_size=4", "train.devices=1", *more)
    two = command("train", path, f"runs={tmp_path / 'two'}", "train.batch_size=2", "train.devices=2", *more)
    single, double = (history(results["run_id"], "train/loss") for results in (one, two))
    assert sorted(single) == sorted(double) == list(range(STEPS))
    losses = max(abs(single[step] - double[step]) for step in single)
    parameters = largest_difference(weights(one), weights(two))
    validation = max(abs(two[name] - value) for name, value in one.items() if name.startswith("val/"))
    for name, value in (("losses", losses), ("weights", parameters), ("validation", validation)):
        record_property(name, value)
    rounding = 10 if stage == "stage4" else 1  # the discriminator's Adam divides small gradients by their own size
    assert losses < rounding * 1e-5
    assert parameters < rounding * 2e-5
    for name, value in one.items():
        if name.startswith("val/"):
            assert two[name] == pytest.approx(value, abs=2e-4), name
        if name.startswith("val/") and name.endswith(("_bicubic", "_ceiling")):  # no crop is counted twice
            assert two[name] == pytest.approx(value, rel=1e-6), name
    assert [path.name for path in (tmp_path / "two" / stage).iterdir()] == [Path(two["folder"]).name]


@pytest.mark.slow
def test_a_chain_runs_in_two_processes_under_torchrun(command, tmp_path):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    report = command(
        "chain", "experiments/chains/full.yaml", f"runs={tmp_path / 'runs'}",
        "train.batch_size=2", "train.devices=2", launcher=torchrun,
    )  # fmt: skip
    assert list(report["stages"]) == ["stage1", "stage2", "stage3"]
    assert len(list((tmp_path / "runs").glob("stage*/*"))) == 3
