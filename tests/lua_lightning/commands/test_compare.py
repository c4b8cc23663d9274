import json

import pytest

from lua_lightning.cli import main
from lua_lightning.evaluation.intervals import CropScores, write_scores


def finished(folder, offset, samples=6):
    folder.mkdir(parents=True)
    crops = [
        CropScores(n, n // 2, {"x2/psnr": 30 + n + offset, "x2/ssim": 0.5 + 0.01 * (-1) ** (n // 2) * offset})
        for n in range(samples)
    ]
    write_scores(folder / "scores.json", crops)
    (folder / "results.json").write_text(json.dumps({"steps": 10, "hours": 0.1}))
    return folder


def test_differences_are_paired_and_marked_when_clear(tmp_path, capsys):
    folders = [finished(tmp_path / name / "run", offset) for name, offset in (("one", 0.0), ("two", 0.25))]
    assert main(["compare", *map(str, folders)]) == 0
    out, err = capsys.readouterr()
    assert "two" in err
    assert "**+0.250 [+0.250, +0.250]**" in out
    (row,) = json.loads(out.splitlines()[-1])
    assert row["differences"]["x2/psnr"] == pytest.approx({"value": 0.25, "low": 0.25, "high": 0.25})
    ssim = row["differences"]["x2/ssim"]
    assert ssim["low"] < 0 < ssim["high"]
    assert f"| {ssim['value']:+.4f} [" in out


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    one, short = finished(tmp_path / "one" / "run", 0), finished(tmp_path / "short" / "run", 0, samples=4)
    for arguments, message in (
        ([one], "at least two"),
        ([one, tmp_path], "no finished run"),
        ([one, short], "different crops"),
    ):
        assert main(["compare", *map(str, arguments)]) == 2
        assert message in capsys.readouterr().err


def test_test_photographs_are_measured_once(tmp_path, monkeypatch, capsys):
    folders = [finished(tmp_path / name / "run", 0.0) for name in ("one", "two")]
    asked = []

    def measure(adapter, config, split):
        asked.append((adapter.parent.parent.name, split))
        offset = 0.5 if adapter.is_relative_to(folders[1]) else 0.0
        return [CropScores(n, n, {"x2/psnr": 30.0 + n + offset}) for n in range(3)]

    monkeypatch.setattr("lua_lightning.training.comparison.measure", measure)
    for folder in folders:
        (folder / "config.yaml").write_text("name: one\n")
    for _ in range(2):
        assert main(["compare", *map(str, folders), "--split", "test"]) == 0
        assert "+0.500" in capsys.readouterr().out
    assert asked == [("one", "test"), ("two", "test")]


ODD = {
    "empty": "",
    "torn": '[{"sample": 0, "pho',
    "number": "1",
    "not a number": "NaN",
    "list of lists": "[[]]",
    "mapping": "{}",
    "lacks": '[{"sample": 0}]',
    "text": '[{"sample": "a", "photo": [], "values": {"x2/psnr": "b"}}]',
    "no metrics": '[{"sample": 0, "photo": 0, "values": {}}]',
    "deep": "[" * 100_000,
    "no text": b"\x00\xff",
    "other results": '{"steps": "a", "hours": null}',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("file", ["scores.json", "results.json"])
@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_file_is_named_in_one_sentence(tmp_path, capsys, odd, file, which):
    folders = [finished(tmp_path / name / "run", 0.0) for name in ("one", "two")]
    (folders[which] / file).write_bytes(odd if isinstance(odd, bytes) else odd.encode())
    assert main(["compare", *map(str, folders)]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert str(folders[which] / file) in err


def test_a_damaged_state_is_named_in_one_sentence_by_sync(tmp_path, capsys):
    for odd in ODD.values():
        (tmp_path / "tracking.json").write_bytes(odd if isinstance(odd, bytes) else odd.encode())
        assert main(["sync", str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert str(tmp_path) in err
