"""Benchmarks in processes of their own: two give what one gives, and one that is killed goes on."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lua_lightning.models.adapter import AdapterConfig, LatentUpscaler
from tests.benchmarks.test_run import without_timings
from tests.conftest import write_photo_set
from tests.lua_lightning.generators.pipelines import pipeline


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """A benchmark of three methods and prompts on small random models."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    torch.manual_seed(0)
    pipeline("StableDiffusionXLPipeline").save_pretrained(tmp_path / "generator")
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4))
    adapter.save_pretrained(tmp_path / "adapter")
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test", "test"], size=512)
    return [
        "-m", "benchmarks", "1024", f"generator={tmp_path / 'generator'}", f"adapter={tmp_path / 'adapter'}",
        'methods=["latent-bicubic","lua","direct"]', "prompts=3", "steps=2", "crops_per_photo=1", f"photos={photos}",
    ]  # fmt: skip


@pytest.mark.slow
def test_kill_minus_nine_at_a_random_moment_then_again(tmp_path, arguments):
    found, seconds = [], 0.0
    for name in ("whole", "killed"):
        command = [sys.executable, *arguments, f"out={tmp_path / name}"]
        if name == "killed":
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            moment = random.uniform(0.1, 0.9) * seconds
            time.sleep(moment)
            process.kill()
            assert process.wait() == -signal.SIGKILL, f"it had ended before {moment:.1f} of {seconds:.1f} s"
            made = len(list((tmp_path / name).glob("*/images/*/*.png")))
            print(f"killed after {moment:.1f} of {seconds:.1f} s, with {made} of 9 images made")
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout.strip().splitlines()[-1])["results"])
    ours, theirs = (without_timings(path) for path in found)
    assert ours["config"].pop("out") != theirs["config"].pop("out")
    assert ours == theirs


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path, arguments, record_property, monkeypatch):
    # Sums depend on the number of threads they are split over, which the launcher sets to one where it is not given.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    found = []
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29531"]
        settings = [*arguments, f"out={tmp_path / str(processes)}", f"devices={processes}"]
        command = [sys.executable, *(launcher if processes == 2 else []), *settings]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout.strip().splitlines()[-1]))
    one, two = (json.loads(Path(line["results"]).read_text()) for line in found)
    images = [sorted((tmp_path / str(count)).rglob("images/*/*.png")) for count in (1, 2)]
    assert [path.parts[-2:] for path in images[0]] == [path.parts[-2:] for path in images[1]]
    assert len(images[0]) == 9
    from PIL import Image, ImageChops

    for ours, theirs in zip(*images, strict=True):
        assert ImageChops.difference(Image.open(ours), Image.open(theirs)).getbbox() is None
    differences = []
    for ours, theirs in zip(one["rows"], two["rows"], strict=True):
        assert ours["method"] == theirs["method"]
        for name, entry in ours["metrics"].items():
            assert ("value" in entry) == ("value" in theirs["metrics"][name])
            if "value" in entry:
                differences.append(abs(entry["value"] - theirs["metrics"][name]["value"]))
    record_property("metrics", max(differences))
    assert max(differences) < 1e-6
