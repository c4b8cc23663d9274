"""Two processes and one give the same images and the same numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lua_lightning.adapter import AdapterConfig, LatentUpscaler
from tests.conftest import write_photo_set
from tests.lua_lightning.pipelines import pipeline


@pytest.mark.slow
def test_two_processes_make_what_one_makes(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    torch.manual_seed(0)
    pipeline("StableDiffusionXLPipeline").save_pretrained(tmp_path / "generator")
    adapter = LatentUpscaler(AdapterConfig.sized("tiny", channels=4))
    adapter.save_pretrained(tmp_path / "adapter")
    photos = write_photo_set(tmp_path / "photos", ["train", "val", "test", "test"], size=512)
    found = []
    for processes in (1, 2):
        launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29531"]
        arguments = [
            "-m", "benchmarks", "1024", f"generator={tmp_path / 'generator'}", f"adapter={tmp_path / 'adapter'}",
            'methods=["latent-bicubic","lua","direct"]', "prompts=3", "steps=2", "crops_per_photo=1",
            f"photos={photos}", f"out={tmp_path / str(processes)}", f"devices={processes}",
        ]  # fmt: skip
        command = [sys.executable, *(launcher if processes == 2 else []), *arguments]
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
    for ours, theirs in zip(one["rows"], two["rows"], strict=True):
        assert ours["method"] == theirs["method"]
        for name, entry in ours["metrics"].items():
            assert entry.get("value") == pytest.approx(theirs["metrics"][name].get("value"), abs=1e-6)
