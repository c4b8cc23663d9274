"""Locks on file systems that know none, as some of clusters."""

import errno

import pytest
from filelock import FileLock

from lua_lightning.locks import alone, in_turn, is_held
from lua_lightning.pairs.cache import build_cache
from lua_lightning.pairs.photos import PhotoSet

FAILURES = [NotImplementedError("no flock here"), OSError(errno.ENOLCK, "No locks available")]
DENIALS = [PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EROFS, "Read-only file system")]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
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


@pytest.mark.parametrize(
    "failure",
    [*FAILURES, PermissionError(errno.EACCES, "Permission denied"), OSError(errno.EROFS, "Read-only")],
    ids=repr,
)
def test_a_folder_whose_lock_cannot_be_tried_is_not_held(failure, monkeypatch, tmp_path, capsys):
    with alone(tmp_path):
        assert is_held(tmp_path)

    def refuse(lock, *arguments, **options):
        raise failure

    monkeypatch.setattr(FileLock, "acquire", refuse)
    assert not is_held(tmp_path)
    assert capsys.readouterr().err == ""


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
