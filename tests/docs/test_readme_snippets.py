"""The README's Python runs as it is written, in a folder that holds the photograph it names."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

SNIPPETS = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("code", SNIPPETS, ids=lambda code: code.splitlines()[0])
def test_a_snippet_runs(code, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    if "upscale_image" in names:
        assert Image.open("photo_x2.png").size == (128, 96)
    elif "upscaled" in names:
        assert names["image"].size == (256, 256)
    else:
        assert names["images"].shape == (1, 3, 512, 512)
        assert torch.isfinite(names["images"]).all()


def test_there_are_snippets():
    assert len(SNIPPETS) == 3
