"""The folders of runs: one process each, and nothing changed behind the back of a run that goes on."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lua_lightning.commands.train import COMMAND
from lua_lightning.config import RunConfig, load_config, to_yaml
from lua_lightning.errors import UserError
from lua_lightning.locks import alone
from lua_lightning.training import runs
from lua_lightning.training.train import train
from tests.conftest import write_photo_set


@pytest.fixture
def config(settings) -> RunConfig:
    return load_config(RunConfig, Path("experiments/stage1.yaml"), [*settings, "train.steps=4"])


@pytest.fixture
def begun(config) -> Path:
    """The folder of a run that was stopped at once."""
    folder = runs.new_folder(config)
    (folder / runs.CONFIG).write_text(to_yaml(config))
    return folder


def test_runs_of_the_same_second_have_folders_of_their_own(config):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: runs.new_folder(config), range(8)))
    assert len({*folders}) == 8


def test_a_run_that_runs_is_not_resumed_beside_it(config, begun):
    with alone(begun), pytest.raises(UserError, match=rf"{begun} is in use by process \d+ \(`.*`\): wait"):
        train(config, resume="auto")
    assert not (begun / "metrics.jsonl").exists()


@pytest.mark.parametrize("name", ["results.json", "metrics.jsonl", "notes.txt"])
def test_a_folder_of_the_users_is_never_a_runs(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name}, which no run made"):
        runs.named_folder(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        runs.named_folder(tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_the_command_asks_before_it_trains_in_a_folder(tmp_path, settings, monkeypatch):
    import argparse

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results.json").write_text("mine")
    parser = argparse.ArgumentParser()
    COMMAND.add_arguments(parser)
    options = parser.parse_args(["experiments/stage1.yaml", *settings, "--folder", str(tmp_path / "mine")])
    with pytest.raises(UserError, match="which no run made"):
        COMMAND.run(options)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["results.json"]


def test_a_folder_that_is_new_empty_or_a_runs_is_taken(tmp_path, begun):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new", tmp_path / "empty", begun):
        assert runs.named_folder(folder) == folder


def test_other_photographs_behind_the_same_path_are_noticed(config, begun, tmp_path):
    photos = write_photo_set(tmp_path / "set", ["train", "train", "val", "test"])
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, photos=str(photos)))
    (begun / runs.CONFIG).write_text(to_yaml(config))
    runs.begin_or_check(begun, {runs.PHOTOGRAPHS: "of before"})
    with pytest.raises(UserError, match=f"the photographs changed since {begun} was begun"):
        train(config, resume="auto")


def test_another_codec_behind_the_same_path_is_noticed(config, begun):
    runs.begin_or_check(begun, {runs.CODEC: "of before"})
    with pytest.raises(UserError, match=f"the codec changed since {begun} was begun"):
        train(config, resume="auto")


def test_runs_of_different_photographs_are_not_paired(tmp_path):
    folders = [tmp_path / name for name in ("one", "two", "of an older version")]
    for folder, mark in zip(folders, ("a", "b"), strict=False):
        folder.mkdir()
        runs.begin_or_check(folder, {runs.PHOTOGRAPHS: mark, runs.CODEC: mark})
    runs.check_same_photographs([folders[0], folders[2]])
    with pytest.raises(UserError, match=r"one and .*two were made from different photographs"):
        runs.check_same_photographs(folders)


def test_settings_are_compared_one_by_one_and_new_ones_have_their_defaults(config, begun):
    path = begun / runs.CONFIG
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if "decode_margin" not in line and "checkpoint_every" not in line))
    known = load_config(RunConfig, path)
    like = dataclasses.replace(
        config,
        train=dataclasses.replace(
            config.train, decode_margin=known.train.decode_margin, checkpoint_every=known.train.checkpoint_every
        ),
    )
    assert runs.folder_to_resume(like, "auto") == begun
    other = dataclasses.replace(like, train=dataclasses.replace(like.train, steps=5))
    with pytest.raises(UserError, match=r"other settings \(train.steps: 4 -> 5\)"):
        runs.folder_to_resume(other, "auto")


DAMAGE = {"cut": b'{"stage": "sta', "list": b"[]", "binary": b"\xff\xfe\x00", "empty": b""}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [runs.RESULTS, runs.CONFIG])
def test_a_damaged_old_run_stops_nobody(config, begun, name, damage):
    """Neither the search for the newest stage I nor that for the run to resume."""
    good = begun.with_name("20200101-000000")
    for folder in (good, begun):
        folder.mkdir(exist_ok=True)
        (folder / runs.CONFIG).write_text(to_yaml(config))
        (folder / runs.RESULTS).write_text(json.dumps({"stage": "stage1"}))
    (begun / name).write_bytes(DAMAGE[damage])
    second = dataclasses.replace(config.adapter, init_from="latest:stage1")
    assert runs.starting_point(dataclasses.replace(config, adapter=second)) == str(good / "adapter")
    (good / runs.RESULTS).unlink()
    if name == runs.CONFIG:
        assert runs.folder_to_resume(config, "auto") == good
