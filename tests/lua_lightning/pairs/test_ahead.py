"""Work done ahead: in order, bounded, and over when nobody wants it any more; a cache is the same with and without."""

import dataclasses
import threading
import time

import pytest

from lua_lightning.errors import UserError
from lua_lightning.pairs import encoding
from lua_lightning.pairs.ahead import ahead
from lua_lightning.pairs.cache import build_cache, settings_of
from lua_lightning.pairs.encoding import READ_AT_ONCE, same_photo
from lua_lightning.pairs.photos import PhotoSet
from lua_lightning.pairs.plan import Crop, plan_crops


@pytest.fixture
def photos(photo_folder):
    return PhotoSet.load(photo_folder)


def contents(cache):
    return {shard["file"]: shard["sha256"] for shard in cache.manifest["shards"]}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_and_no_more_are_begun_than_allowed(workers):
    begun, taken, most = [], 0, 0
    for result in ahead(lambda item: begun.append(item) or -item, range(20), workers):
        assert result == -taken
        taken += 1
        time.sleep(0.01)
        most = max(most, len(begun) - taken)
    assert taken == 20
    assert most <= 2 * workers
    assert bool(most) == bool(workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_where_its_result_would_and_ends_the_threads(workers):
    def fails(item):
        if item == 3:
            raise UserError("broken")
        return item

    results = ahead(fails, range(10), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="broken"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_who_stops_early_leaves_no_threads():
    results = ahead(lambda item: item, range(100), 2)
    next(results)
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


@pytest.mark.parametrize("reductions", [[1], [1, 2]])
def test_a_cache_is_the_same_for_any_number_of_workers(tmp_path, photos, codec, cache_config, reductions):
    made = []
    for workers in (0, 1, 4):
        folder = str(tmp_path / str(workers))
        config = dataclasses.replace(
            cache_config, folder=folder, workers=workers, reductions=reductions, train_pixels=True
        )
        made.append(build_cache(config, photos, codec))
    assert contents(made[0]) == contents(made[1]) == contents(made[2])
    assert len({cache.folder.name for cache in made}) == 1
    assert "workers" not in settings_of(cache_config, None, photos)
    plans = [list(plan_crops(photos, "train", dataclasses.replace(cache_config, workers=n))) for n in (0, 3)]
    assert plans[0] == plans[1]


def test_photographs_are_read_while_the_encoder_works(tmp_path, photos, codec, cache_config, monkeypatch):
    """The encoder waits until the photographs behind the one it has are read, which only another thread can do."""
    read, behind, encode = [], threading.Event(), type(codec).encode

    def reads(*arguments, **settings):
        read.append(arguments[1][0].photo)
        if len(read) > 1:
            behind.set()
        return read_crops(*arguments, **settings)

    def encodes(self, images, **settings):
        assert behind.wait(10), "nothing was read while the first crop was encoded"
        return encode(self, images, **settings)

    read_crops = encoding.read_crops
    monkeypatch.setattr(encoding, "read_crops", reads)
    monkeypatch.setattr(type(codec), "encode", encodes)
    build_cache(dataclasses.replace(cache_config, folder=str(tmp_path), workers=1), photos, codec)
    assert len(read) == len(set(read))  # each photograph once, also where its crops are in two shards


def test_a_broken_photograph_ends_the_build_with_a_sentence(tmp_path, photos, codec, cache_config):
    broken = dataclasses.replace(photos, folder=tmp_path / "empty")
    with pytest.raises(UserError, match="does not exist"):
        build_cache(dataclasses.replace(cache_config, folder=str(tmp_path), workers=2), broken, codec)


def test_crops_of_one_photograph_are_read_together_up_to_a_bound():
    crops = [Crop(0, 8 * n, 0, 0) for n in range(READ_AT_ONCE + 1)] + [Crop(0, 0, 0, 0, 2), Crop(1, 0, 0, 0)]
    parts = list(same_photo(iter(crops)))
    assert [len(part) for part in parts] == [READ_AT_ONCE, 1, 1, 1]
    assert [crop for part in parts for crop in part] == crops
