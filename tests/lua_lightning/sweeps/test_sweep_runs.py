"""Sweeps with real workers: finished runs stay, failed ones wait to be asked for, drivers may die."""

import csv
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import mlflow
import pytest
import submitit
import torch
import yaml

from lua_lightning.cli import main
from lua_lightning.errors import UserError
from lua_lightning.sweeps.execute import Options, Training, _is_over, execute
from lua_lightning.sweeps.plan import load_plan

ROOT = Path.cwd()


@pytest.fixture
def sweep(tmp_path, settings):
    def write(variants, steps=3, **more):
        path = tmp_path / "sweep.yaml"
        content = {
            "name": "small",
            "base": f"{ROOT}/experiments/stage1.yaml",
            "settings": [*settings, f"train.steps={steps}", "validation.every=1000"],
            "seeds": [0],
            "reference": next(iter(variants)),
            "variants": variants,
            **more,
        }
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def last_line(capsys):
    out, err = capsys.readouterr()
    return json.loads(out.splitlines()[-1]), err


def test_a_sweep_trains_what_is_missing_and_compares_it(sweep, capsys, tmp_path):
    path = sweep({"full": {}, "L1+0": {"settings": ["loss.latent_fft=0"]}})
    assert main(["sweep", str(path), "--dry-run"]) == 0
    planned, err = last_line(capsys)
    assert planned["states"] == {"planned": 2}
    assert planned["expected_seconds"] > 0
    assert "L1+0" in err
    assert not (tmp_path / "runs").exists()

    assert main(["sweep", str(path)]) == 0
    report, err = last_line(capsys)
    assert "[2/2]" in err
    folder = Path(report["folder"])
    assert {"table.md", "table.csv", "axis-variant.png", "crops.png"} <= {file.name for file in folder.iterdir()}
    client = mlflow.MlflowClient()
    parent = client.get_run(report["run_id"])
    with (folder / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = {"full": "full", "L1+0": "L1 0"}[row["variant"]]  # what MLflow allows
        for kind in ("n", "mean", "difference", "low", "high"):
            if row[kind]:
                assert parent.data.metrics[f"{name}/{row['metric']}/{kind}"] == float(row[kind])
    runs = load_plan(path).runs
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{report['run_id']}'")
    assert {(child.data.params["variant"], child.data.params["stage1.loss.latent_fft"]) for child in children} == {
        ("full", "0.1"), ("L1+0", "0.0")
    }  # fmt: skip
    (psnr_row,) = (row for row in rows if row["variant"] == "full" and row["metric"] == "x2/psnr")
    (child,) = (child for child in children if child.data.params["variant"] == "full")
    assert child.data.metrics["val/x2/psnr"] == pytest.approx(float(psnr_row["mean"]))

    finished = {run.folder: (run.folder / "results.json").stat().st_mtime for run in runs}
    assert main(["sweep", str(path)]) == 0
    again, _ = last_line(capsys)
    assert again["run_id"] == report["run_id"]
    assert again["rows"] == report["rows"]
    assert finished == {run.folder: (run.folder / "results.json").stat().st_mtime for run in runs}


def test_a_bounded_residual_is_estimated_before_there_is_a_cache(sweep, capsys):
    path = sweep({"free": {}, "bounded": {"settings": ["adapter.residual_bound=1.2"]}})
    assert main(["sweep", str(path), "--dry-run"]) == 0
    assert last_line(capsys)[0]["states"] == {"planned": 2}


@pytest.mark.slow
def test_a_failed_run_is_reported_and_run_again_on_request(sweep, capsys):
    # A rate that makes the loss overflow is not refused beforehand.
    path = sweep({"full": {}, "wild": {"settings": ["optim.learning_rate=1e37"]}}, steps=6)
    assert main(["sweep", str(path)]) == 1
    report, err = last_line(capsys)
    assert [row["variant"] for row in report["rows"]] == ["full"]
    assert "wild seed 0 failed (UserError: the loss became" in err
    (wild,) = load_plan(path).of("wild")
    written = (wild.folder / "error.txt").stat().st_mtime
    assert main(["sweep", str(path)]) == 1
    assert "--retry-failed runs it again" in last_line(capsys)[1]
    assert (wild.folder / "error.txt").stat().st_mtime == written
    assert main(["sweep", str(path), "--retry-failed"]) == 1
    assert (wild.folder / "error.txt").stat().st_mtime > written


@pytest.mark.slow
def test_a_sweep_survives_the_death_of_its_driver(sweep, capsys):
    path = sweep({"full": {}, "no-fft": {"settings": ["loss.latent_fft=0"]}}, steps=150)
    command = [sys.executable, "-m", "lua_lightning.cli", "sweep", str(path), "--jobs", "1"]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    plan = load_plan(path)
    deadline = time.monotonic() + 900
    while plan.runs[0].state != "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert plan.runs[0].state == "running"
    assert main(["sweep", str(path), "--jobs", "1"]) == 0
    report, err = last_line(capsys)
    assert "[2/2]" in err
    assert [row["variant"] for row in report["rows"]] == ["full", "no-fft"]
    # One process trained it from beginning to end: one MLflow run, never resumed.
    records = (plan.runs[0].folder / "metrics.jsonl").read_text()
    assert records.count('"status": "RUNNING"') == 0
    assert len(list((plan.runs[0].folder / "stage1").iterdir())) == 1


@pytest.mark.slow
def test_a_killed_worker_is_gone_on_with(sweep, capsys):
    path = sweep({"full": {}}, steps=400)
    command = [sys.executable, "-m", "lua_lightning.cli", "sweep", str(path)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    (run,) = load_plan(path).runs
    deadline = time.monotonic() + 900
    while not list(run.folder.glob("stage1/*/checkpoints/last.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(1)
    assert run.state == "interrupted"
    assert main(["sweep", str(path)]) == 0
    last_line(capsys)
    assert len(list((run.folder / "stage1").iterdir())) == 1  # the same stage folder, resumed


@pytest.mark.slow
def test_ctrl_c_loses_no_step(sweep):
    path = sweep({"full": {}}, steps=400)
    command = [sys.executable, "-m", "lua_lightning.cli", "sweep", str(path)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    (run,) = load_plan(path).runs

    def recorded():
        return [text for file in run.folder.glob("stage1/*/metrics.jsonl") for text in file.read_text().splitlines()]

    deadline = time.monotonic() + 900
    while not any("train/loss" in text for text in recorded()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(driver.pid, signal.SIGINT)
    driver.wait()
    while run.state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.state == "interrupted"
    (checkpoint,) = run.folder.glob("stage1/*/checkpoints/last.ckpt")
    saved = torch.load(checkpoint, weights_only=False)["global_step"]
    assert saved == 1 + max(json.loads(text)["step"] for text in recorded() if "train/loss" in text)


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for SLURM's commands: each task of an array is a process here; `sbatch.sh` is what was submitted."""
    tools = tmp_path / "bin"
    tools.mkdir()
    jobs = tmp_path / "slurm"
    jobs.mkdir()
    commands = {
        "sbatch": f"""
            cp "$1" {tmp_path}/sbatch.sh
            last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
            export SLURM_ARRAY_JOB_ID=$$ SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NNODES=1
            for task in $(seq 0 "$last"); do
                SLURM_JOB_ID=$(($$ + task)) SLURM_ARRAY_TASK_ID=$task setsid bash "$1" > /dev/null 2>&1 &
                echo $! > {jobs}/$$_$task
            done
            echo "Submitted batch job $$"
        """,
        "srun": """
            while [[ "$1" == --* ]]; do
                if [[ "$1" == --unbuffered ]]; then shift; else shift 2; fi
            done
            exec "$@"
        """,
        "sacct": f"""
            echo "JobID|State|NodeList"
            for job in {jobs}/*; do
                if kill -0 "$(cat "$job")" 2> /dev/null; then state=RUNNING; else state=COMPLETED; fi
                echo "$(basename "$job")|$state|here"
            done
        """,
    }
    for name, body in commands.items():
        (tools / name).write_text(f"#!/bin/bash\n{textwrap.dedent(body)}")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_slurm_runs_the_same_sweep_and_takes_a_second_driver(sweep, tmp_path):
    plan = load_plan(sweep({"full": {}, "no-fft": {"settings": ["loss.latent_fft=0"]}}))
    trainings = [Training(run, {}, {"variant": run.variant}) for run in plan.runs]
    options = Options(jobs=2, cluster="slurm", slurm=["partition=big", "time=30"])
    submitted = []

    def first_driver_dies(_):
        submitted.append((tmp_path / "sbatch.sh").read_text())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(plan, trainings, options, first_driver_dies)
    assert "#SBATCH --partition=big" in submitted[0]
    assert "#SBATCH --time=30" in submitted[0]
    assert "#SBATCH --array=0-1%2" in submitted[0]

    jobs = list((plan.folder.parent / "jobs").glob("*_submitted.pkl"))
    assert len(jobs) == 2
    for job in jobs:
        assert hasattr(submitit.core.utils.DelayedSubmission.load(job).function, "checkpoint")  # it can be requeued

    (tmp_path / "sbatch.sh").unlink()
    execute(plan, [training for training in trainings if training.run.state != "finished"], options, lambda run: None)
    assert [run.state for run in plan.runs] == ["finished", "finished"]
    assert not (tmp_path / "sbatch.sh").exists()  # the second driver waited for the first one's jobs
    for run in plan.runs:
        assert len(list((run.folder / "stage1").iterdir())) == 1


def test_a_job_that_the_accounting_has_forgotten_is_over(tmp_path, monkeypatch):
    queue = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = types.SimpleNamespace(job_id="7", state="UNKNOWN", done=lambda: False)
    for body, over in (
        ("echo 7 gpu PENDING", False),
        ("echo 'Invalid job id specified' >&2; exit 1", True),
        ("echo 'Unable to contact slurm controller' >&2; exit 1", False),
        ("exit 0", True),
    ):
        queue.write_text(f"#!/bin/bash\n{body}\n")
        queue.chmod(0o755)
        assert _is_over(job) is over, body
    job.state = "RUNNING"
    assert not _is_over(job)


def test_what_the_workers_could_not_take_is_refused(sweep, monkeypatch):
    plan = load_plan(sweep({"full": {}}))
    trainings = [Training(run, {}, {}) for run in plan.runs]
    with pytest.raises(UserError, match="number of minutes"):
        execute(plan, trainings, Options(1, "slurm", ["time=24:00:00"]), lambda run: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f3a")
    with pytest.raises(UserError, match="by number"):
        execute(plan, trainings, Options(1), lambda run: None)


def test_slurm_and_a_local_database_do_not_go_together(sweep, capsys):
    path = sweep({"full": {}})
    assert main(["sweep", str(path), "--cluster", "slurm"]) == 2
    assert "MLFLOW_TRACKING_URI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--slurm", "foo"], "--slurm foo is for SLURM: give --cluster slurm too"),
        (["--slurm", "foo", "--cluster", "slurm"], "--slurm 'foo' is not a setting: write KEY=VALUE"),
        (["--slurm", "time=long", "--cluster", "slurm"], "must be a number of minutes"),
    ],
)
def test_parameters_for_slurm_are_looked_at_before_any_work(options, said, capsys):
    assert main(["sweep", "experiments/sweeps/losses.yaml", *options]) == 2
    assert said in capsys.readouterr().err
