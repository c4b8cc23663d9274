"""The ledger of written shards: a line a shard, so that a cache of thousands of shards is never written again whole."""

import dataclasses
import json

import pytest

from lua_lightning.errors import UserError
from lua_lightning.files import append_json
from lua_lightning.pairs import cache as pairs
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet


@pytest.fixture
def photos(photo_folder):
    return PhotoSet.load(photo_folder)


@pytest.fixture
def built(cache_config, tmp_path, photos, codec):
    """A cache whose manifest is lost, as after a kill, and its configuration."""
    config = dataclasses.replace(cache_config, folder=str(tmp_path / "cache"))
    cache = build_cache(config, photos, codec)
    (cache.folder / "manifest.json").unlink()
    return cache, config


def encoded(monkeypatch):
    """Return the list that receives the name of each shard that is encoded."""
    names, write = [], pairs._write_shard
    monkeypatch.setattr(
        pairs, "_write_shard", lambda build, name, *rest: names.append(name) or write(build, name, *rest)
    )
    return names


def test_a_shard_is_one_line_and_lines_are_only_added(built):
    cache, _ = built
    content = (cache.folder / "shards.jsonl").read_text()
    assert [json.loads(line) for line in content.splitlines()] == cache.manifest["shards"]
    append_json(cache.folder / "shards.jsonl", {"file": "more"})
    assert (cache.folder / "shards.jsonl").read_text().startswith(content)


@pytest.mark.parametrize(
    ("harm", "again"),
    [
        (lambda content: content, 0),
        (lambda content: content[:-20], 1),  # killed in the middle of the last line
        (lambda content: content[:-1] + b"\xff\xfe{", 1),
        (lambda content: content + b"[]\nnull\n{}\n", 0),
        (lambda content: b"", 5),
    ],
)
def test_a_spoiled_line_costs_its_own_shard_only(built, photos, codec, monkeypatch, harm, again):
    cache, config = built
    ledger = cache.folder / "shards.jsonl"
    ledger.write_bytes(harm(ledger.read_bytes()))
    names = encoded(monkeypatch)
    assert build_cache(config, photos, codec).manifest == cache.manifest
    assert len(names) == again


def test_a_ledger_of_before_is_read_too(built, photos, codec, monkeypatch):
    cache, config = built
    (cache.folder / "shards.jsonl").unlink()
    (cache.folder / "shards.json").write_text(json.dumps(cache.manifest["shards"], indent=1))
    names = encoded(monkeypatch)
    assert build_cache(config, photos, codec).manifest == cache.manifest
    assert names == []


def test_a_line_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"cannot be written \(Is a directory\)"):
        append_json(tmp_path, {})
