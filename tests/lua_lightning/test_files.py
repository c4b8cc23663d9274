"""The one writer: the old file or the new one, whatever happens in between."""

import ast
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from lua_lightning import files
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores, read_scores, write_scores
from lua_lightning.files import replacing, write_json, write_tensors, write_text, write_torch
from lua_lightning.images import write_image
from lua_lightning.models.pretrained import write_pretrained

ROOT = Path(__file__).parents[2]
WRITERS = {
    "text": lambda path: write_text(path, "new" * 1000),
    "json": lambda path: write_json(path, {"new": [1] * 1000}),
    "torch": lambda path: write_torch(path, torch.zeros(4000)),
    "tensors": lambda path: write_tensors(path, {"new": torch.zeros(4000)}),
    "image": lambda path: write_image(path, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)),
    "scores": lambda path: write_scores(path, [CropScores(0, 0, {"x2/psnr": 30.0})] * 100),
}


class Killed(BaseException):
    """What stands for a kill: nothing may catch it."""


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def killed(*args, **kwargs):
    raise Killed


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_full_disk_and_a_kill_leave_the_old_file(tmp_path, monkeypatch, name, moment):
    path = tmp_path / "file.png"
    path.write_bytes(b"old")
    with monkeypatch.context() as broken:
        broken.setattr(os, moment, full)
        with pytest.raises(UserError, match=r"cannot be written \(No space left"):
            WRITERS[name](path)
    assert path.read_bytes() == b"old"
    with monkeypatch.context() as broken:
        broken.setattr(os, moment, killed)
        with pytest.raises(Killed):
            WRITERS[name](path)
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file.png"]
    WRITERS[name](path)
    assert path.read_bytes() != b"old"


@pytest.mark.parametrize("name", ["torch", "tensors"])
def test_what_the_libraries_call_a_full_disk_is_told_in_a_sentence(tmp_path, name):
    """Their writers raise no OSError when the file system stops taking bytes."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
        with pytest.raises(UserError, match=f"{path} cannot be written"):
            WRITERS[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"


def test_the_next_run_clears_what_a_kill_left(tmp_path):
    gone = tmp_path / f".results.json.{files._HOST}-999999999-abcdef01-1.partial"
    alive = tmp_path / f".results.json.{files._HOST}-{os.getppid()}-abcdef01-1.partial"
    elsewhere = tmp_path / ".results.json.0123abcd-1-abcdef01-1.partial"
    users = tmp_path / ".thesis.partial"
    for path in (gone, alive, elsewhere, users):
        path.write_text("half")
    write_json(tmp_path / "results.json", {})
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, elsewhere.name, users.name, "results.json"}


@pytest.mark.parametrize("place", ["/proc/x.json", "{file}/x.json"])
def test_a_place_that_cannot_be_written_is_told_in_a_sentence(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(Path(place.format(file=tmp_path / "file")), {})


def test_a_link_stays_a_link_and_long_names_are_written(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    write_text(tmp_path / ("ä" * 120 + ".txt"), "long")


def test_a_block_that_fails_changes_nothing(tmp_path):
    def half(path):
        with replacing(path) as partial:
            partial.write_text("half")
            raise ValueError("no")

    (tmp_path / "real").write_text("new")
    with pytest.raises(ValueError, match="no"):
        half(tmp_path / "real")
    assert (tmp_path / "real").read_text() == "new"


def test_an_adapter_folder_is_written_file_by_file(tmp_path, monkeypatch):
    write_pretrained(tmp_path, {"old": 1}, {"weight": torch.zeros(1)})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="cannot be written"):
        write_pretrained(tmp_path, {"new": 1}, {"weight": torch.ones(1)})
    assert '"old"' in (tmp_path / "config.json").read_text()


def test_scores_come_back_as_written(tmp_path):
    scores = [CropScores(3, 1, {"x2/psnr": 30.0})]
    write_scores(tmp_path / "scores.json", scores)
    assert read_scores(tmp_path / "scores.json") == scores


ELSEWHERE = {
    "lua_lightning/files.py",  # the writer itself
    "lua_lightning/tracking/tracker.py",  # artifacts, in a hidden folder that is renamed when they are whole
    "data/hub.py",  # downloads, in the work folder of a set that is renamed when it is whole
    "data/dead_leaves.py",  # likewise
    "baselines/clock.py",  # a file of the kernel
}


def test_nothing_else_writes_files():
    """Every write goes through `lua_lightning.files`, or inside a block of `replacing`."""
    found = []
    for path in [path for folder in ("lua_lightning", "data", "benchmarks", "baselines") for path in _sources(folder)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = f"{ast.unparse(node.func.value)}.{node.func.attr}"
                if node.func.attr in ("write_text", "write_bytes") or name == "torch.save":
                    found.append((path.relative_to(ROOT).as_posix(), name))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "save_file":
                found.append((path.relative_to(ROOT).as_posix(), node.func.id))
    assert {path for path, _ in found} <= ELSEWHERE, found


def _sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def test_a_file_has_the_usual_permissions_whichever_library_wrote_it(tmp_path):
    path, usual = tmp_path / "weights.safetensors", tmp_path / "usual"
    usual.touch()
    write_tensors(path, {"a": torch.zeros(2)})
    assert path.stat().st_mode == usual.stat().st_mode
    path.chmod(0o640)
    write_tensors(path, {"a": torch.ones(2)})
    assert path.stat().st_mode & 0o777 == 0o640
