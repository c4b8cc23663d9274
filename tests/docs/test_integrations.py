"""The page on integrations does what it says: its exports are made, and its Python runs in their folder."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lua_lightning.cli import main
from lua_lightning.export.targets import TARGETS
from tests.docs.pages import shell_lines

PAGE = Path("docs/integrations.md")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_shows_every_target():
    exports = [line for line in shell_lines(PAGE) if line.startswith("lua-lightning export")]
    assert [shlex.split(line)[3] for line in exports] == list(TARGETS)
    assert len(BLOCKS) == 6


@pytest.mark.slow
def test_everything_on_the_page_runs(tmp_path, monkeypatch, capsys):
    lines = shell_lines(PAGE)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save("photo.jpg")
    for line in lines:
        assert main(shlex.split(line)[1:]) == 0, line
    for block in BLOCKS:
        capsys.readouterr()
        exec(compile(block, str(PAGE), "exec"), {})
        printed = capsys.readouterr().out.splitlines()
        said = re.findall(r"^print\(.*\)  # (.*)$", block, re.MULTILINE)
        assert [re.findall(r"\d+", line) for line in printed] == [re.findall(r"\d+", line) for line in said]
    assert Image.open("photo_x2.png").size == (128, 96)
