"""`make bench-upscale`: from file to file."""

import json

import pytest

from benchmarks import upscale_speed
from benchmarks.upscale_speed import PARTS, Row, main, markdown, measure_folder, measure_pictures


def test_parts_folder_and_start_are_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(upscale_speed, "apart", lambda what, function, *arguments: function(*arguments))
    folder = measure_folder(tmp_path, 1, count=2, side=32)
    monkeypatch.setattr(upscale_speed, "measure_folder", lambda *arguments: folder)
    out = tmp_path / "out.json"
    assert main(["--sides", "64", "--repeats", "1", "--out", str(out)]) == 0
    content = json.loads(capsys.readouterr().out)
    (row,) = content["rows"]
    assert set(row["seconds"]) == {*PARTS}
    assert min(row["seconds"].values()) > 0
    assert row["peak_mib"] > 50
    assert content["start"]["median"] > 0
    assert content["folder"]["median"] > 0
    lines = markdown(json.loads(out.read_text())).splitlines()
    assert lines[2].startswith("| 64 px x4 |")
    assert "from start to end" in lines[5]


def test_what_memory_cannot_hold_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(upscale_speed, "memory", lambda: (2**20, 2**20))
    assert measure_pictures([512], 4, tmp_path) == [Row(512, 4, unavailable="may need 0.3 GiB of 0.0")]


def test_mistakes_are_one_sentence(capsys):
    for arguments, said in (
        (["--sides", "8"], "--sides 8 is below 16"),
        (["--repeats", "0"], "--repeats 0 is below 1"),
    ):
        assert main(arguments) == 2
        assert said in capsys.readouterr().err


def test_more_than_the_goal_is_said():
    spread = {"median": 1.2, "low": 1.1, "high": 1.3, "n": 3}
    rows = [{"side": 4096, "scale": 4, "seconds": {"reading": 1.0}, "peak_mib": 5000.0, "unavailable": None}]
    said = upscale_speed.remarks({"folder": spread, "start": spread, "rows": rows})
    assert said[-1] == "4096 px x4 needs 5000 MiB; the goal is 4096."
    assert len(said) == 3


@pytest.mark.parametrize("side", [16, 200])
def test_pictures_are_of_their_side(tmp_path, side):
    assert upscale_speed.Image.open(upscale_speed.write_picture(tmp_path / "a.png", side)).size == (side, side)
