"""Processes that train together under signals: none is left behind, and none waits for ever."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlflow
import pytest

MAIN = """
import sys
from lua_lightning import cli, processes
processes.BEAT_SECONDS, processes.SILENCE_SECONDS = 0.5, 5.0
sys.exit(cli.main())
"""


class Work:
    """A training of two processes under torchrun."""

    def __init__(self, tmp_path: Path, settings: list[str]) -> None:
        self.runs, script = tmp_path / "runs", tmp_path / "main.py"
        script.write_text(MAIN)
        self.log = tmp_path / "log.txt"
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
        more = ["train.steps=4000", "validation.every=4000", "train.devices=2", "train.accelerator=cpu"]
        command = [sys.executable, *torchrun, "train", "experiments/stage1.yaml", *settings, *more]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
        with self.log.open("w") as log:
            self.launcher = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        self.ranks: dict[int, int] = {}

    def wait_for_steps(self) -> None:
        """Wait until steps are recorded and MLflow, which a busy machine starts slowly, has the run."""
        deadline = time.monotonic() + 900
        while not self._is_at_work():
            assert self.launcher.poll() is None, self.log.read_text()[-2000:]
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.2)
        children = Path(f"/proc/{self.launcher.pid}/task/{self.launcher.pid}/children").read_text().split()
        for child in map(int, children):
            environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            rank = next((item for item in environment if item.startswith(b"RANK=")), None)
            if rank:
                self.ranks[int(rank.removeprefix(b"RANK="))] = child
        assert sorted(self.ranks) == [0, 1]

    def _is_at_work(self) -> bool:
        recorded = any('"step": 20,' in path.read_text() for path in self.runs.glob("stage1/*/metrics.jsonl"))
        return recorded and json.loads((self.folder / "tracking.json").read_text())["run_id"] is not None

    def wait_until_gone(self, ranks, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(_lives(self.ranks[rank]) for rank in ranks):
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.2)

    @property
    def folder(self) -> Path:
        (folder,) = self.runs.glob("stage1/*")
        return folder

    @property
    def status(self) -> str:
        run_id = json.loads((self.folder / "tracking.json").read_text())["run_id"]
        return mlflow.MlflowClient().get_run(run_id).info.status


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def work(tmp_path, settings, cache):
    work = Work(tmp_path, settings)
    yield work
    for process in [*work.ranks.values(), work.launcher.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    work.launcher.wait()


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_hangs_ends_the_others_with_a_sentence(work, rank):
    work.wait_for_steps()
    os.kill(work.ranks[rank], signal.SIGSTOP)
    work.wait_until_gone([1 - rank], 300)
    assert "was killed or hangs: nothing was heard of it for 5 seconds" in work.log.read_text()
    if rank == 1:
        assert work.status == "FAILED"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_is_killed_ends_the_others(work, rank):
    work.wait_for_steps()
    os.kill(work.ranks[rank], signal.SIGKILL)
    work.wait_until_gone([0, 1], 300)
    assert work.launcher.wait(300) != 0


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_orphans(work):
    work.wait_for_steps()
    os.kill(work.launcher.pid, signal.SIGKILL)
    work.wait_until_gone([0, 1], 300)
    assert (work.folder / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_says_once_how_to_go_on(work):
    work.wait_for_steps()
    os.kill(work.launcher.pid, signal.SIGTERM)
    work.wait_until_gone([0, 1], 300)
    assert work.status == "KILLED"
    assert work.log.read_text().count(f"terminated: the same command with `--resume {work.folder}`") == 1
