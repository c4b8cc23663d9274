"""`make bench-cache`: pairs a second, and which part bounds them."""

import json
import time

import pytest

from benchmarks import cache_speed
from benchmarks.cache_speed import PARTS, Speed, main, said
from lua_lightning.pairs.photos import PhotoSet


def test_it_measures_every_part_and_leaves_nothing(settings, tmp_path, capsys):
    assert main(["stage1", *settings, "cache.workers=2", f"cache.folder={tmp_path}/caches", "--pairs", "7"]) == 0
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert content["pairs"] == 7
    assert set(content["seconds"]) == {*PARTS, "together"}
    assert all(seconds > 0 for seconds in content["seconds"].values())
    assert content["pairs_per_second"] == pytest.approx(7 / content["seconds"]["together"])
    assert f"bound by {content['bound']}" in printed.err
    assert not (tmp_path / "caches").exists()
    assert main(["stage1", *settings, "--pairs", "0"]) == 2
    assert "--pairs 0 is below 1" in capsys.readouterr().err


@pytest.mark.parametrize("slow", ["decode", "encode"])
def test_what_is_slow_is_named(slow, settings, monkeypatch, capsys):
    def slowed(function):
        return lambda *arguments, **options: time.sleep(0.3) or function(*arguments, **options)

    if slow == "decode":
        monkeypatch.setattr(PhotoSet, "read", slowed(PhotoSet.read))
    else:
        monkeypatch.setattr(cache_speed, "encode_images", slowed(cache_speed.encode_images))
    assert main(["stage1", *settings, "cache.workers=1", "--pairs", "4"]) == 0
    assert json.loads(capsys.readouterr().out)["bound"] == slow


def test_threads_that_read_ahead_are_counted():
    seconds = {"decode": 6.0, "resize": 2.0, "encode": 4.0, "write": 1.0}
    bounds = [Speed(40, workers, seconds, 10.0).bound for workers in (0, 1, 2)]
    assert bounds == ["decode", "decode", "encode"]
    sentence = said(Speed(40, 2, seconds, 8.0))
    assert sentence == (
        "5.0 pairs/s with cache.workers=2, bound by encode: reading by 2 threads could do 10.0, "
        "encoding by 1 thread could do 8.0"
    )
