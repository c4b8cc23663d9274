import json

import pytest
import torch

from benchmarks import gpu_check


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(gpu_check, "best_device", lambda: "cpu")
    monkeypatch.setattr(gpu_check, "SIDES", {"cpu": (64,)})
    monkeypatch.setattr(gpu_check, "TRAINED", {"cpu": (("tiny", 16, 1),)})


def test_without_a_gpu_every_part_is_measured_on_the_cpu_and_said(small, tmp_path, capsys):
    assert gpu_check.main(["--skip-tests", "-o", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr()
    assert "there is no CUDA GPU here" in printed.err
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["complete"]
    assert [row["part"] for row in report["rows"]] == ["training", "decoder", "decoder", "adapter"]
    assert all(row["milliseconds"] > 0 for row in report["rows"])
    assert "images/s" in report["rows"][0]["note"]
    assert printed.out.count("\n") == 2 + len(report["rows"])


def test_no_time_left_stops_and_keeps_what_was_measured(small, tmp_path):
    gpu_check.main(["--skip-tests", "--minutes", "0", "-o", str(tmp_path / "out.json")])
    report = json.loads((tmp_path / "out.json").read_text())
    assert not report["complete"]
    assert len(report["rows"]) == 1


def test_running_out_of_memory_is_a_row():
    def greedy():
        raise torch.OutOfMemoryError

    assert gpu_check.measured("adapter", "paper", 4096, greedy, "cpu").note == "out of memory"
