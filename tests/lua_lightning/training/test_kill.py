"""A run that is killed outright, in a process of its own."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lua_lightning.models.adapter import LatentUpscaler

STEPS = 60


def run(arguments, environment, kill_at_step=None):
    """Run `lua-lightning train`; with `kill_at_step` kill it once it has recorded that step. Return its last line."""
    command = [sys.executable, "-m", "lua_lightning.cli", "train", "experiments/stage1.yaml", *arguments]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    if kill_at_step is None:
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0
        return json.loads(output.splitlines()[-1])
    runs = Path(next(item for item in arguments if item.startswith("runs=")).removeprefix("runs="))
    while process.poll() is None:
        records = "".join(path.read_text() for path in runs.glob("stage1/*/metrics.jsonl"))
        if f'"step": {kill_at_step}, ' in records:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    assert process.returncode == -signal.SIGKILL
    return None


@pytest.mark.slow
def test_kill_minus_nine_then_resume_ends_in_the_same_weights(tmp_path, photo_folder, codec_folder):
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    settings = [
        f"data.photos={photo_folder}",
        f"cache.folder={tmp_path / 'cache'}",
        f"cache.codec={codec_folder}",
        "cache.crop_px=64",
        "cache.crops_per_photo=3",
        f"train.steps={STEPS}",
        "train.batch_size=2",
        "train.crop_latents=8",
        "train.log_every=1",
        "train.checkpoint_every=10",
        "validation.every=25",
        "optim.warmup_steps=2",
    ]
    whole = run([f"runs={tmp_path / 'whole'}", *settings], environment)
    killed = [f"runs={tmp_path / 'killed'}", *settings]
    run(killed, environment, kill_at_step=random.randint(12, STEPS - 5))
    (folder,) = (tmp_path / "killed" / "stage1").iterdir()
    run_id = json.loads((folder / "tracking.json").read_text())["run_id"]
    resumed = run([*killed, "--resume"], environment)
    assert run_id in (None, resumed["run_id"])  # None: killed before MLflow had answered
    ours, theirs = (LatentUpscaler.from_pretrained(results["adapter"]).state_dict() for results in (whole, resumed))
    difference = max(float((ours[name].float() - theirs[name].float()).abs().max()) for name in ours)
    print(json.dumps({"largest_difference": difference}))
    assert difference == 0
    assert torch.equal(ours["conv_first.weight"], theirs["conv_first.weight"])
