"""Checkpoints: a kill at any moment leaves one to go on from, and a damaged one is passed over by name."""

import contextlib
import dataclasses
import errno
import os
from pathlib import Path

import pytest
import torch

from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.training.checkpoints import BEST, LAST, PREVIOUS, WholeCheckpoints, damage, step_of, to_resume_from
from lua_lightning.training.module import AdapterModule
from lua_lightning.training.train import train
from tests.lua_lightning.training.helpers import Stop, at_step, history, largest_difference, weights

STEPS = 8


@pytest.fixture
def config(settings):
    return load_config(
        RunConfig, Path("experiments/stage1.yaml"), [*settings, f"train.steps={STEPS}", "validation.every=4"]
    )


def again(config):
    return dataclasses.replace(config, runs=config.runs + "-again")


def save(folder, step, name=LAST):
    content = {"global_step": step, "state_dict": {"weight": torch.full((1000,), float(step))}}
    WholeCheckpoints().save_checkpoint(content, folder / name)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_checkpoint_that_the_disk_does_not_take_leaves_one_to_go_on_from(tmp_path, monkeypatch, moment):
    save(tmp_path, 2)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, moment, full)
        with pytest.raises(UserError, match="No space left on device"):
            save(tmp_path, 4)
    path, damaged = to_resume_from(tmp_path)
    assert (step_of(path), damaged) == (2, [])
    save(tmp_path, 6)
    assert step_of(tmp_path / LAST) == 6


def test_the_previous_checkpoint_is_kept(tmp_path):
    for step in (2, 4, 6):
        save(tmp_path, step)
    assert [step_of(tmp_path / name) for name in (LAST, PREVIOUS)] == [6, 4]


@pytest.mark.parametrize("harm", [flip, lambda path: os.truncate(path, 700), lambda path: path.write_text("")])
def test_a_damaged_checkpoint_is_named_and_the_next_best_taken(tmp_path, harm):
    for step in (2, 4):
        save(tmp_path, step)
    save(tmp_path, 1, BEST)
    assert damage(tmp_path / LAST) is None
    harm(tmp_path / LAST)
    path, damaged = to_resume_from(tmp_path)
    assert path == tmp_path / PREVIOUS
    assert str(tmp_path / LAST) in damaged[0]
    harm(tmp_path / PREVIOUS)
    assert to_resume_from(tmp_path)[0] == tmp_path / BEST
    harm(tmp_path / BEST)
    with pytest.raises(UserError, match=r"last.ckpt is damaged .* delete them to train this run again"):
        to_resume_from(tmp_path)


def test_a_run_whose_last_checkpoint_is_damaged_ends_where_it_would_have(config, monkeypatch, capsys):
    whole = train(config)
    broken = again(config)

    def crash(batch):
        raise Stop

    at_step(monkeypatch, 7, crash)
    with pytest.raises(Stop):
        train(broken)
    (folder,) = Path(broken.runs).glob("stage1/*")
    flip(folder / "checkpoints" / LAST)
    resumed = train(broken, resume="auto")
    said = capsys.readouterr()
    assert f"{folder / 'checkpoints' / LAST} is damaged" in said.err
    assert "from step 4" in said.out
    assert largest_difference(weights(whole), weights(resumed)) == 0
    assert history(resumed["run_id"], "train/loss") == history(whole["run_id"], "train/loss")


@pytest.mark.parametrize("step", [4, STEPS])
def test_a_kill_during_a_validation_of_a_checkpoint_step_does_not_lose_it(config, monkeypatch, step):
    """Every point, grid and best candidate that the unbroken run has."""
    whole, broken = train(config), again(config)
    original = AdapterModule.on_validation_epoch_end

    def cut_off(self):
        if self.global_step == step:
            monkeypatch.setattr(AdapterModule, "on_validation_epoch_end", original)
            raise Stop
        return original(self)

    monkeypatch.setattr(AdapterModule, "on_validation_epoch_end", cut_off)
    with contextlib.suppress(Stop):
        train(broken)
    resumed = train(broken, resume="auto")
    for name in ("val/x2/psnr", "val/x4/ssim", "train/loss"):
        assert history(resumed["run_id"], name) == history(whole["run_id"], name)
    best = [torch.load(Path(one["folder"]) / "checkpoints" / BEST, weights_only=True) for one in (whole, resumed)]
    assert best[0]["global_step"] == best[1]["global_step"]
    assert largest_difference(weights(whole), weights(resumed)) == 0
