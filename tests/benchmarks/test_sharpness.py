import json

import pytest

from benchmarks import sharpness
from lua_lightning.evaluation.intervals import CropScores


def scores(source, config, split, at):
    assert (config.cache.codec, split) == ("tiny-d16", "val")
    values = {}
    for scale in ("x2", "x4"):
        values |= {f"{scale}/psnr": 30 - at, f"{scale}/{sharpness.PERCEPTUAL}": 3 - 2 * at}
    return [CropScores(number, number, values) for number in range(3)]


def test_the_curve_is_measured_at_every_sharpness_told_drawn_and_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sharpness, "measure", scores)
    out = tmp_path / "out"
    assert sharpness.main(["lua-tiny-d16", "--split", "val", "--at", "0", "0.5", "1", "--out", str(out)]) == 0
    printed, told = capsys.readouterr()
    content = json.loads(printed.splitlines()[-1])
    assert content == json.loads((out / "sharpness.json").read_text())
    assert [point["sharpness"] for point in content["curve"]] == [0, 0.5, 1]
    assert [point["x2/psnr"]["value"] for point in content["curve"]] == [30, 29.5, 29]
    assert [point[f"x4/{sharpness.PERCEPTUAL}"]["value"] for point in content["curve"]] == [3, 2, 1]
    assert "29.50" in told
    drawn = (out / "sharpness.svg").read_text()
    assert drawn.count("<!-- 0.5 -->") == 2  # the label of each scale's dot, as matplotlib notes texts
    again = tmp_path / "again"
    assert sharpness.main(["lua-tiny-d16", "--split", "val", "--at", "0", "0.5", "1", "--out", str(again)]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["lua-tiny-d16", "--at", "2"], "between 0"), (["lua-tiny-d16", "--at", "0.5"], "one sharpness only"),
     (["nope"], "nope")],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(arguments, said, capsys, tmp_path):
    assert sharpness.main([*arguments, "--out", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
