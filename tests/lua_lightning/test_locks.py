"""Locks on file systems that know none, as some of clusters."""

import errno

import pytest
from filelock import FileLock

from lua_lightning.locks import in_turn
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet


@pytest.mark.parametrize(
    "failure", [NotImplementedError("no flock here"), OSError(errno.ENOLCK, "No locks available")], ids=repr
)
def test_without_locks_the_work_goes_on_and_says_so(failure, monkeypatch, tmp_path, capsys):
    def refuse(lock, *arguments, **options):
        raise failure

    monkeypatch.setattr(FileLock, "acquire", refuse)
    done = []
    with in_turn(tmp_path / "lock"):
        done.append(1)
    assert done == [1]
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert f"{tmp_path} cannot be locked (" in printed


def test_an_error_of_the_work_frees_the_lock(tmp_path):
    with pytest.raises(OSError, match="the work's own"), in_turn(tmp_path / "lock"):
        raise OSError("the work's own")
    with in_turn(tmp_path / "lock"), FileLock(tmp_path / "other", timeout=0):
        pass


def test_a_cache_is_built_where_nothing_can_be_locked(cache_config, tmp_path, photo_folder, codec, monkeypatch, capsys):
    def refuse(lock, *arguments, **options):
        raise NotImplementedError("no flock here")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    cache_config = type(cache_config)(**{**vars(cache_config), "folder": str(tmp_path)})
    assert build_cache(cache_config, PhotoSet.load(photo_folder), codec).manifest["shards"]
    assert "see that no second process works there" in capsys.readouterr().err
