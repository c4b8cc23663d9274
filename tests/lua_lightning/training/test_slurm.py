"""The SLURM job scripts, with stand-ins for `srun` and `scontrol` that do on one machine what these do on many."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

from lua_lightning.models.adapter import LatentUpscaler
from tests.lua_lightning.training.helpers import history, largest_difference

SCRIPTS = Path("experiments/slurm").resolve()


@pytest.fixture
def environment(tmp_path):
    """What SLURM gives a job of one task, and its commands; `requeued` holds what `scontrol` was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (("srun", 'exec "$@"'), ("scontrol", f'echo "$@" >> {tmp_path}/requeued')):
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    program = tools / "lua-lightning"
    program.write_text(f'#!/bin/bash\nexec {sys.executable} -m lua_lightning.cli "$@"\n')
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "LUA_LIGHTNING": str(program),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "lua-lightning",
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
    }


@pytest.mark.slow
def test_a_job_stopped_by_its_time_limit_is_requeued_and_ends_where_it_would_have(settings, environment, tmp_path):
    folders = {name: tmp_path / name for name in ("whole", "stopped")}
    more = ["train.steps=60", "validation.every=60", "train.checkpoint_every=1000"]
    command = ["bash", str(SCRIPTS / "train.sbatch"), "experiments/stage1.yaml", *settings, *more]

    def job(name):
        return subprocess.Popen(command, env={**environment, "FOLDER": str(folders[name])})

    assert job("whole").wait(timeout=180) == 0
    assert not (tmp_path / "requeued").exists()

    first = job("stopped")
    records = folders["stopped"] / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (records.exists() and "train/loss" in records.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(timeout=60) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    assert not (folders["stopped"] / "results.json").exists()
    assert job("stopped").wait(timeout=180) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"

    losses, weights = [], []
    for folder in folders.values():
        run_id = json.loads((folder / "results.json").read_text())["run_id"]
        losses.append(history(run_id, "train/loss"))
        weights.append(LatentUpscaler.from_pretrained(folder / "adapter").state_dict())
    assert losses[0] == losses[1]
    assert largest_difference(*weights) == 0.0
    client = mlflow.MlflowClient()
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    runs = [run for run in runs if run.data.tags["stage"] != "baseline"]
    assert sorted(run.info.status for run in runs) == ["FINISHED", "FINISHED"]


def test_a_task_that_fails_is_not_requeued(environment, tmp_path):
    command = ["bash", str(SCRIPTS / "train.sbatch"), "missing.yaml"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "missing.yaml" in done.stderr
    assert not (tmp_path / "requeued").exists()


def test_every_task_of_the_array_encodes_its_part(environment, tmp_path):
    program = Path(environment["LUA_LIGHTNING"])
    program.write_text('#!/bin/bash\necho "$@"\n')
    environment |= {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "16"}
    command = ["bash", str(SCRIPTS / "cache.sbatch"), "experiments/paper/stage1.yaml", "cache.codec=sdxl"]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert said == "cache experiments/paper/stage1.yaml cache.codec=sdxl --part 3/16\n"
