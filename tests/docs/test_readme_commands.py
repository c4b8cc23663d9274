"""The README's commands, run one after the other in a fresh clone, as a newcomer would. Long ones are shortened."""

import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from lua_lightning.markdown import WIDTH
from tests.conftest import write_photo_set
from tests.docs.pages import ROOT, shell_lines

LINES = shell_lines(ROOT / "README.md")
FEW = "train.steps=4 train.batch_size=2 train.log_every=1 cache.crops_per_photo=2 validation.every=4"
FEW += " optim.warmup_steps=1"
ELSEWHERE = {
    "git clone <the address of this repository> lua-lightning": "the fixture clones",
    "cd lua-lightning": "the fixture clones",
    "lua-lightning train experiments/paper/stage1.yaml train.devices=8": "eight GPUs",
    "sbatch --nodes 2 experiments/slurm/train.sbatch experiments/paper/stage1.yaml train.accumulate=2": "a cluster",
}
SHORTER = {
    "make train-stage1": f' ARGS="{FEW}"',
    'make train-stage1 PHOTOS=data/mine ARGS="cache.codec=sdxl adapter.size=light train.steps=20000"': (
        f' ARGS="{FEW} adapter.size=light"'  # make takes the last; SDXL's autoencoder is on the hub
    ),
    "make train": f' ARGS="{FEW}"',
    "make train-stage2": f' ARGS="{FEW} adapter.init_from=latest:stage1"',
    "make transfer CODEC=tiny-d4 FROM=lua-tiny-d16": f' ARGS="{FEW}"',
    "make ablate-losses": f' SEEDS=0 ARGS="{FEW}"',
    "make search-losses": ' ARGS="--trials 1 train.batch_size=2"',
    "make bench-512": ' ARGS="prompts=2 steps=2 crops_per_photo=1"',
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """Return a fresh clone whose home folder holds a few pictures, with a photograph and a folder beside the code."""
    folder = tmp_path_factory.mktemp("newcomer") / "lua-lightning"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    made = write_photo_set(folder.parent / "made", ["train"] * 6, size=640)
    pictures = folder.parent / "home" / "Pictures"
    shutil.copytree(made / "images", pictures)
    shutil.copytree(made / "images", folder / "photos")
    shutil.copy(made / "images" / "0.png", folder / "photo.jpg")
    return folder


def environment(clone: Path) -> dict[str, str]:
    caches = {"XDG_CACHE_HOME": str(Path.home() / ".cache"), "HOME": str(clone.parent / "home")}
    return {**os.environ, **caches, "MLFLOW_TRACKING_URI": ""}


def newest(clone: Path, stage: str) -> str:
    return max(path.name for path in (clone / "runs" / stage).iterdir() if path.is_dir())


def run(clone: Path, line: str) -> subprocess.CompletedProcess[str]:
    for stage in re.findall(r"runs/(\w+)/TIME", line):
        line = line.replace(f"runs/{stage}/TIME", f"runs/{stage}/{newest(clone, stage)}")
    return subprocess.run(
        line, shell=True, cwd=clone, env=environment(clone), capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("line", [line for line in LINES if line not in ELSEWHERE and line != "make mlflow-ui"])
def test_a_command_of_the_readme_does_what_it_says(clone, line):
    if line.startswith(".venv/bin/python -m data folder"):
        line += " --min-side 512"  # the pictures here are small
    done = run(clone, line + SHORTER.get(line, ""))
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stdout + done.stderr
    for name in re.findall(r"-o (\S+)", line):
        assert (clone / name).exists()


@pytest.mark.slow
def test_the_readmes_mlflow_page_opens(clone):
    server = subprocess.Popen(
        ["make", "mlflow-ui", "PORT=5931"], cwd=clone, env=environment(clone), stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert server.stdout.readline().startswith("http://127.0.0.1:5931/")
        for _ in range(120):
            try:
                with urllib.request.urlopen("http://127.0.0.1:5931/health", timeout=2) as answer:
                    assert answer.status == 200
                    break
            except OSError:
                time.sleep(1)
        else:
            pytest.fail("the server did not answer within two minutes")
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_every_command_of_the_readme_is_run_or_says_why_not():
    assert set(ELSEWHERE) <= set(LINES)
    assert set(SHORTER) <= set(LINES)
    assert all(len(reason) < WIDTH for reason in ELSEWHERE.values())
