"""`make bench-train`: our training steps against a plain loop, in turns."""

import json
import time

import pytest
import torch

from benchmarks.parts import PartTimes, matrix_rate
from benchmarks.train_speed import main
from benchmarks.train_table import PARTS, goals, markdown


def test_both_loops_take_turns_and_every_part_is_told(settings, tmp_path, capsys):
    small = ["--sizes", "tiny", "--stages", "stage2", "--rounds", "2", "--steps", "1", "--batch", "2", "--side", "8"]
    settings = [setting for setting in settings if not setting.startswith(("train.batch_size", "train.crop", "runs"))]
    assert main([*small, *settings, f"cache.folder={tmp_path}/caches", "--out", str(tmp_path / "out.json")]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out.splitlines()[-1])
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == content["rows"]
    (row,) = content["rows"]
    assert (row["size"], row["stage"], row["batch"], row["side"]) == ("tiny", "stage2", 2, 8)
    assert row["precision"] == "32-true"
    for loop in ("ours", "plain"):
        assert row["seconds"][loop]["n"] == 2
        assert row["images_per_second"][loop] == pytest.approx(2 / row["seconds"][loop]["median"])
        assert set(row["parts"][loop]) == {*PARTS}
        assert all(seconds >= 0 for seconds in row["parts"][loop].values())
        assert min(row["parts"][loop][part] for part in ("forward", "decode", "backward", "optimiser")) > 0
    rate = content["matrix_flops_per_second"]["32-true"]
    assert row["share"] == pytest.approx(row["flops"] / row["seconds"]["ours"]["median"] / rate)
    assert "tiny, II" in printed.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sizes", "tinny"], "did you mean 'tiny'"),
        (["--stages", "stage9"], "stage9"),
        (["--rounds", "0"], "--rounds 0 is below 1"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def row(size, stage, ratio, share):
    return {
        "size": size,
        "stage": stage,
        "batch": 16,
        "side": 32,
        "images_per_second": {"ours": 3.0, "plain": 2.0},
        "ratio": {"median": ratio, "low": ratio, "high": ratio},
        "share": share,
        "parts": {"ours": {"data": 1.0, "forward": 3.0}, "plain": {"data": 1.0, "forward": 1.0}},
    }


def test_what_is_below_its_goal_is_said():
    rows = [row("tiny", "stage1", 1.6, 0.1), row("light", "stage2", 1.2, 0.3), row("paper", "stage3", 1.3, 0.7)]
    assert goals(rows) == [
        "light, II: 1.20 times the plain loop, the goal is 1.3",
        "light, II: 30% of the matrix rate, the goal is 35%",
    ]


def test_the_page_shows_both_tables():
    lines = markdown({"rows": [row("light", "stage2", 1.5, 0.3)]}).splitlines()
    assert lines[2] == "| light, II | 16, 32 | 3.00 | 2.00 | 1.50 (1.50 to 1.50) | 30.0% |"
    assert lines[6] == "| light, II | ours | 25% | 75% | - | - | - | - | - | - |"


def test_a_part_inside_another_counts_once():
    times = PartTimes("cpu")
    with times("left out"):
        time.sleep(0.01)
    times.on = True
    inner = times.of("inner", time.sleep)
    with times("outer"):
        inner(0.05)
        time.sleep(0.01)
    assert set(times.seconds) == {"inner", "outer"}
    assert times.seconds["inner"] >= 0.05 > times.seconds["outer"] >= 0.01


def test_the_matrix_rate_is_a_rate():
    assert 1e6 < matrix_rate("cpu", torch.float32, 128) < 1e15
