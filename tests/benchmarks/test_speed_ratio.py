"""Two versions of the code are measured in turns, with the same weights."""

import json
import shutil

import pytest

from benchmarks import speed_ratio
from benchmarks.speed_ratio import ROOT, main


@pytest.fixture
def slower(monkeypatch):
    """An earlier version that waits before each pass, and enlarges to something else."""

    def copied(commit, folder):
        shutil.copytree(ROOT / "lua_lightning", folder / "lua_lightning", ignore=shutil.ignore_patterns("zoo", "*.pyc"))
        path = folder / "lua_lightning/models/adapter.py"
        forward = "\n\ndef _slow(self, latents, scale, forward=LatentUpscaler.forward):\n"
        forward += "    __import__('time').sleep(1.0)\n    return forward(self, latents, scale) + 0.5\n\n\n"
        path.write_text(path.read_text() + forward + "LatentUpscaler.forward = _slow\n")
        (folder / "lua_lightning/zoo").mkdir()
        shutil.copy(ROOT / "lua_lightning/zoo/__init__.py", folder / "lua_lightning/zoo")

    monkeypatch.setattr(speed_ratio, "source_of", copied)


def test_the_ratio_tells_which_version_is_faster(slower, capsys):
    assert main(["before", "--adapters", "tiny", "--latents", "5", "8", "--repeats", "3"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert [(row["adapter"], row["latents"]) for row in content["rows"]] == [("tiny", 5), ("tiny", 8)]
    for row in content["rows"]:
        assert row["before"] > 1
        assert row["low"] <= row["ratio"] <= row["high"] < 1
        assert row["difference"] == pytest.approx(0.5, abs=1e-5)
    assert "below 1 is faster now" in printed.err


def test_a_commit_that_is_none_is_one_sentence(capsys):
    assert main(["no-such-commit", "--adapters", "tiny", "--latents", "5"]) == 2
    error = capsys.readouterr().err
    assert "the code at no-such-commit cannot be had" in error
    assert len(error.strip().splitlines()) == 1
