"""Folders of models whose `config.json` was cut, overwritten or is another file: a sentence that names it."""

import json

import pytest

from lua_lightning.errors import UserError
from lua_lightning.generators.catalogue import find_generator
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.patch_autoencoder import PatchAutoencoder, PatchAutoencoderConfig
from lua_lightning.training.cards import read_history
from tests.lua_lightning.models.adapters import small_adapter

CONTENTS = {
    "empty": b"",
    "cut": b'{"_class_name": "Auto',
    "a list": b"[]",
    "nothing": b"null",
    "a number": b"3",
    "deep": b"[" * 100_000,
    "no text": b"\xff\xfe\x00",
    "an empty key": b'{"": 1}',
}
NO_CLASS = b'{"_class_name": [1]}'


def adapter(folder):
    small_adapter().save_pretrained(folder)
    return "config.json", LatentUpscaler.from_pretrained


def patch_codec(folder):
    PatchAutoencoder(PatchAutoencoderConfig()).save_pretrained(folder)
    return "config.json", PatchAutoencoder.from_pretrained


def any_codec(folder):
    PatchAutoencoder(PatchAutoencoderConfig()).save_pretrained(folder)
    return "config.json", LatentCodec.from_pretrained


def generator(folder):
    folder.mkdir()
    return "model_index.json", lambda folder: find_generator(str(folder))


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("made", [adapter, patch_codec, any_codec, generator], ids=lambda made: made.__name__)
def test_a_damaged_config_is_named(made, content, tmp_path):
    name, load = made(tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(CONTENTS[content])
    with pytest.raises(UserError, match=name):
        load(tmp_path / "model")


@pytest.mark.parametrize("made", [any_codec, generator], ids=lambda made: made.__name__)
def test_a_class_that_is_no_name_is_refused(made, tmp_path):
    name, load = made(tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(NO_CLASS)
    with pytest.raises(UserError, match=name):
        load(tmp_path / "model")


WRONG = (None, "x", -1, 1.5, float("nan"), 1e12, True, [], [-1], [[1]], {})


@pytest.mark.parametrize("made", [adapter, patch_codec], ids=lambda made: made.__name__)
def test_a_wrong_value_in_a_config_is_a_sentence_or_the_model_loads(made, tmp_path):
    name, load = made(tmp_path)
    whole = json.loads((tmp_path / name).read_text())
    refused = set()
    for setting in whole.keys() - {"_class_name"}:
        for value in WRONG:
            (tmp_path / name).write_text(json.dumps({**whole, setting: value}))
            try:
                load(tmp_path)
            except UserError:
                refused.add(setting)
    assert refused == whole.keys() - {"_class_name"}


def test_a_damaged_history_of_an_adapter_is_named(tmp_path):
    (tmp_path / "history.json").write_text("{")
    with pytest.raises(UserError, match=r"history\.json"):
        read_history(tmp_path)
