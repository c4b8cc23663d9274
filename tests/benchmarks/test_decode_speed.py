"""`make bench-decode`: seconds and memory of decoding by size, whole and in tiles."""

import json

import pytest

from benchmarks import decode_speed
from benchmarks.decode_speed import main, markdown, measure_codec
from lua_lightning.errors import UserError


def here(what, function, *arguments):
    return function(*arguments)


def test_every_size_is_measured_both_ways(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decode_speed, "apart", here)
    out = tmp_path / "out.json"
    assert main(["--codecs", "tiny-d16", "--sizes", "64", "128", "--repeats", "1", "--out", str(out)]) == 0
    content = json.loads(capsys.readouterr().out)
    rows = {(row["px"], row["way"]): row for row in content["rows"]}
    assert set(rows) == {(px, way) for px in (64, 128) for way in ("whole", "tiles")}
    for way in ("whole", "tiles"):
        each = [rows[px, way]["seconds"]["median"] / px**2 for px in (64, 128)]
        assert rows[128, way]["per_pixel"] == pytest.approx(each[1] / each[0])
    assert "| tiny-d16, 128 px |" in markdown(content)


def test_what_is_too_large_or_fails_is_said(monkeypatch):
    def fake(what, function, codec, px, way, repeats, device):
        if (px, way) == (256, "tiles"):
            raise UserError(f"{what} ended")
        return decode_speed.Spread.of([px**2 * 1e-6 * (2 if px == 512 else 1)]), px**2 / 1000

    monkeypatch.setattr(decode_speed, "apart", fake)
    monkeypatch.setattr(decode_speed, "free_mib", lambda device: 100.0)
    rows = measure_codec("tiny-d16", (128, 256, 512), 1, "cpu")
    plain = [decode_speed.asdict(row) for row in rows]
    assert decode_speed.remarks(plain) == [
        "tiny-d16, 512 px, whole: would need about 0 GiB",
        "tiny-d16, 256 px, tiles: tiny-d16 at 256 px, tiles ended",
        "tiny-d16, 512 px: a pixel takes 2.00 times as long as at 512 px, the goal is 1.15",
    ]
    assert decode_speed.table_rows(plain)[2] == ["tiny-d16, 512 px", "-", "0.52", "-", "2.00", "-", "262"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--codecs", "tiny-d17"], "tiny-d16"),
        (["--sizes", "100"], "multiple of 16"),
        (["--repeats", "0"], "--repeats 0 is below 1"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


def test_the_random_decoder_is_of_the_published_size():
    codec = decode_speed.random_tiny()
    assert (codec.channels, codec.downscale) == (4, 8)
    assert codec.decoder_reach is not None
