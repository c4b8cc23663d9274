import json
from types import SimpleNamespace

import pytest
import torch

from baselines.contract import Outcome
from baselines.registry import METHODS
from benchmarks import gpu_check


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gpu_check, "best_device", lambda: "cpu")
    monkeypatch.setattr(gpu_check, "SIDES", {"cpu": (64,)})
    monkeypatch.setattr(gpu_check, "BASE", {"cpu": 64})
    monkeypatch.setattr(gpu_check, "TRAINED", {"cpu": (("tiny", 16, 1),)})


def test_without_a_gpu_every_part_is_measured_on_the_cpu_and_said(small, tmp_path, capsys):
    assert gpu_check.main(["--skip-tests", "-o", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr()
    assert "there is no CUDA GPU here" in printed.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["complete"]
    parts = [row["part"] for row in report["rows"]]
    assert parts == ["training", "decoder", "decoder", "adapter", *["method"] * len(METHODS)]
    methods = {row["case"].partition(",")[0]: row for row in report["rows"] if row["part"] == "method"}
    assert list(methods) == list(METHODS)
    # What has no number says why; the methods that need nothing but the project's own weights have one.
    assert all((row["milliseconds"] or 0) > 0 or row["note"] for row in report["rows"])
    assert all(methods[name]["milliseconds"] for name in ("native", "lua", "latent-bicubic", "direct", "demofusion"))
    assert "images/s" in report["rows"][0]["note"]
    assert printed.out.count("\n") == 2 + len(report["rows"])


def test_no_time_left_stops_and_keeps_what_was_measured(small, tmp_path):
    gpu_check.main(["--skip-tests", "--minutes", "0", "-o", str(tmp_path / "out.json")])
    report = json.loads((tmp_path / "out.json").read_text())
    assert not report["complete"]
    assert len(report["rows"]) == 1


def test_pixels_that_are_not_finite_are_a_failure(small, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_check, "all_rows", lambda *_: gpu_check.method_rows("cpu"))
    monkeypatch.setattr(gpu_check, "METHODS", {"native": METHODS["native"]})
    broken = Outcome(torch.full((1, 3, 512, 512), torch.nan), {"generate": 1.0}, {})
    monkeypatch.setattr(gpu_check, "build_method", lambda *_: SimpleNamespace(run=lambda *_: broken))
    assert gpu_check.main(["--skip-tests", "-o", str(tmp_path / "out.json")]) == 1
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert row["note"].startswith("failed")


def test_running_out_of_memory_is_a_row():
    def greedy():
        raise torch.OutOfMemoryError

    assert gpu_check.measured("adapter", "paper", 4096, greedy, "cpu").note == "out of memory"
