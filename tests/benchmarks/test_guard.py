"""`make bench-guard`: a ratio that falls is told, and stored ratios are those of one machine."""

import json

import pytest

from benchmarks import guard
from benchmarks.guard import main, regressions


@pytest.fixture
def ratios(monkeypatch):
    """What the guard measures, which a test may change."""
    first, second = {"training/tiny/stage1": 1.6}, {"adapter/tiny/x2": 2.0}
    monkeypatch.setattr(guard, "MEASURED", (lambda repeats: first, lambda repeats: second))
    return first, second


def test_a_ratio_may_fall_by_15_percent_and_no_more():
    stored = {"a": 2.0, "b": 1.0}
    assert regressions(stored, {"a": 1.71, "b": 3.0, "new": 0.1}) == []
    assert regressions(stored, {"a": 1.69, "b": 1.0}) == ["a fell from 2.00 to 1.69, by 16%: 15% are allowed"]
    assert regressions(stored, {"a": 2.0}) == [
        "b was 1.00 and is not measured any more: store today's ratios with --update"
    ]


def test_the_command_stores_compares_and_fails(ratios, tmp_path, capsys):
    file = ["--stored", str(tmp_path / "guard.json")]
    assert main(file) == 2
    assert "store them first with --update" in capsys.readouterr().err
    assert main([*file, "--update"]) == 0
    assert main(file) == 0
    capsys.readouterr()
    ratios[1]["adapter/tiny/x2"] = 1.5
    assert main(file) == 1
    printed = capsys.readouterr()
    sentence = "adapter/tiny/x2 fell from 2.00 to 1.50, by 25%: 15% are allowed"
    assert f"benchmarks.guard: {sentence}" in printed.err
    assert json.loads(printed.out)["regressions"] == [sentence]
    assert main([*file, "--update"]) == 0
    assert main(file) == 0


def test_the_ratios_of_other_machines_stay(ratios, tmp_path, monkeypatch):
    file = tmp_path / "guard.json"
    for name in ("one", "other"):
        monkeypatch.setattr(guard, "machine", lambda name=name: name)
        assert main(["--stored", str(file), "--update"]) == 0
    assert set(json.loads(file.read_text())) == {"one", "other"}


def test_the_quick_ratios_are_measured(monkeypatch):
    monkeypatch.setattr(guard, "SMALL", 64)
    monkeypatch.setattr(guard, "LARGE", 128)
    found = guard.decoding(1)
    assert 0 < found["decoding/tiny-d16/2048"] < 100
