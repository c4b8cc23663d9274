"""Every field of every settings dataclass refuses every wrong value by its own name, before any work."""

import dataclasses
import json
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml

from baselines.registry import METHODS, method_class
from benchmarks.config import BenchConfig
from lua_lightning.bounds import Each, File, Matching, Multiple, Name, Odd, OneOf, Text, Within, check, split
from lua_lightning.config import DEVICES, CacheConfig, NetworkConfig, OptimConfig, RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import HEADS, SIZES, SKIPS
from lua_lightning.pairs.encoding import SCALES
from lua_lightning.sweeps.plan import SweepConfig, VariantConfig
from lua_lightning.sweeps.search import SearchConfig
from lua_lightning.training.chain import ChainConfig, StageConfig
from lua_lightning.training.zoo_config import CodecTrainingConfig, GeneratorTrainingConfig

SCHEMAS = [
    RunConfig, ChainConfig, StageConfig, SweepConfig, VariantConfig, SearchConfig, BenchConfig, CodecTrainingConfig,
    GeneratorTrainingConfig, *(kind for name in METHODS if (kind := method_class(name).settings_type)),
]  # fmt: skip
# What no field takes, whatever its type, and what is no value at all.
WRONG = ["[[[1]]]", "{a: {b: c}}", "{1: 2}", '"\\0"', '"a\\nb"', "x" * 5000]
NO_VALUES = [
    "${oc.env:HOME}", "${seed}", "a${b", "???", "[2", "{", "'", "!!python/object/apply:os.system [true]", "&a [*a]",
    "[" * 1200, "!!int x", "!x y",
]  # fmt: skip
WRONG_NUMBERS = ["nan", "-inf", "1e400", "-1e308", "-1", "9" * 400, "abc", '""']
WRONG_WHOLE = ["0.5", "1e30"]
NAMES_OF_PLACES = ["..", "../x", "a/b", "/x", "a\\b", ".hidden", "-x", "", " ", "a" * 101, "ends."]


def fields_of(schema: type):
    """Yield schema, name, type and bounds of every field, also of those in groups."""
    hints = get_type_hints(schema, include_extras=True)
    for field in dataclasses.fields(schema):
        kind, bounds = split(hints[field.name])
        if dataclasses.is_dataclass(kind):
            yield from fields_of(kind)
        else:
            yield schema, field.name, kind, bounds


ALL = [field for schema in SCHEMAS for field in fields_of(schema)]
OWN = [field for field in ALL if field[1] in field[0].__annotations__]  # not those of a parent, which has them too


def wrong_values(kind, bounds):
    """Return texts that a field must not take."""
    found = list(WRONG)
    text = str(kind)
    if "dict" in text or "list" in text or "tuple" in text:
        found += ["1", "abc"]
        numbers = ["nan", "inf", "1e400", "-1", "abc"] if "float" in text or "int" in text else []
        found += [f"{{a: {number}}}" if "dict" in text else f"[{number}]" for number in numbers]
    elif "int" in text or "float" in text:
        allowed = [bound for bound in bounds if isinstance(bound, Within)]
        found += WRONG_NUMBERS
        found += WRONG_WHOLE if "int" in text else []
        for bound in allowed:
            step = 1 if "int" in text else 1e-9
            found += [str(bound.low if bound.above else bound.low - step)]
            found += [str(bound.high if bound.below else bound.high + max(step, bound.high * 1e-6))]
    elif "bool" in text:
        found += ["nan", "2.5", "-1", "abc", "[]"]
    for bound in bounds:
        found += NAMES_OF_PLACES if isinstance(bound, Name) else []
        found += ["nope", "0", '""'] if isinstance(bound, OneOf | Matching | File) else []
    return found


@pytest.mark.parametrize(("schema", "key", "kind", "bounds"), OWN, ids=[f"{a.__name__}:{b}" for a, b, *_ in OWN])
def test_every_field_refuses_every_wrong_value_by_its_name(schema, key, kind, bounds):
    assert bounds or kind is bool, f"{key} declares no bounds"
    for value in wrong_values(kind, bounds):
        with pytest.raises(UserError) as caught:
            load_config(schema, None, [f"{key}={value}"])
        sentence = str(caught.value)
        assert key in sentence, (value, sentence)
        assert len(sentence.splitlines()) == 1, (value, sentence)


@pytest.mark.parametrize("value", NO_VALUES)
@pytest.mark.parametrize("key", ["train.steps", "name", "optim.betas", "loss", "loss.latent_l1", "train.compile"])
def test_what_is_no_value_is_refused_by_the_setting(key, value):
    with pytest.raises(UserError) as caught:
        load_config(RunConfig, None, [f"{key}={value}"])
    assert key in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("schema", SCHEMAS)
def test_every_default_lies_within_its_bounds(schema, monkeypatch):
    settings = schema()
    assert check(settings) == settings


def test_no_group_takes_anything_but_a_mapping():
    for group in ("train", "optim", "cache", "loss_options", "loss"):
        for value in ("[1,2]", "9", "abc", "nan", '""', "[{a: 1}]"):
            with pytest.raises(UserError, match=group):
                load_config(RunConfig, None, [f"{group}={value}"])


@pytest.mark.parametrize(
    "text",
    ["", "=", "=1", "a", " =1", "a..b=1", ".=1", "train.=1", "[0]=1", "train[steps]x=1", "a[=1", "train.steps.x=1"],
)
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(UserError):
        load_config(RunConfig, None, [text])


def unfolding() -> bytes:
    """Return a small file whose aliases stand for 9**9 values."""
    lines = [b"x0: &x0 [1]", *(b"x%d: &x%d [%s]" % (n, n, b",".join([b"*x%d" % (n - 1)] * 9)) for n in range(1, 10))]
    return b"\n".join(lines)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff\xfe name", "no text in UTF-8"),
        (b"a: &a [*a]", "refers to itself"),
        (b"&a a: *a", "unknown setting"),
        (b"[" * 2000, "nested too deep"),
        (b"a: [1", "YAML"),
        (b"\0", "YAML"),
        (b"train: !!python/object/apply:os.system ['true']", "YAML"),
        (b"train: !!python/name:os.system", "YAML"),
        (b"train: {steps: 1}\ntrain: {steps: 2}", "train stands there twice"),
        (b"a: &a {b: 1}\nc: {<<: *a}", "YAML"),
        (b"- a\n- b", "must be a mapping"),
        (b"just words", "must be a mapping"),
        (b"name: ${name}", "refers to something else"),
        (b"name: ${oc.env:HOME}", "refers to something else"),
        (b"name: ???", "has no value"),
        (b"train: {steps: 0}", "train.steps=0"),
        (b"1: 2", "setting"),
        (b"? [1]\n: 2", "YAML"),
        (b"a" * (2**20 + 1), "larger than"),
        (
            b"".join(b"x%d: &x%d [%s]\n" % (n, n, b",".join([b"*x%d" % (n - 1)] * 9) if n else b"1") for n in range(9)),
            "YAML",
        ),
    ],
    ids=range(20),
)
def test_damaged_and_hostile_files_are_one_sentence_that_names_them(tmp_path, content, said):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(RunConfig, path)
    sentence = str(caught.value)
    assert said in sentence
    assert ("run.yaml" in sentence) or ("train.steps=0" in sentence)
    assert len(sentence.splitlines()) == 1


def test_a_folder_or_a_missing_file_is_named(tmp_path):
    for path, said in ((tmp_path, "is no file"), (tmp_path / "nope.yaml", "there is no such file")):
        with pytest.raises(UserError, match=said):
            load_config(RunConfig, path)


def test_the_choices_are_those_of_the_code():
    choices = {
        key: bound
        for _, key, _, bounds in fields_of(NetworkConfig)
        for bound in bounds
        if isinstance(bound, OneOf | Each)
    }
    assert set(choices["size"].names) == set(SIZES)
    assert set(choices["skip"].names) == set(SKIPS)
    assert set(choices["head"].names) == set(HEADS)
    assert choices["scales"].bounds[0].names == SCALES


@pytest.mark.parametrize("text", ["auto", "-1", "1", "8", "0,1", "3,", "0,2,5"])
def test_devices_that_lightning_takes(text):
    assert DEVICES.problem(text) is None


@pytest.mark.parametrize("text", ["0", "abc", "-2", "1.5", "0 1", "", ",", "1e3", "99999"])
def test_devices_that_it_does_not(text):
    assert DEVICES.problem(text)


@pytest.mark.parametrize(
    ("bound", "right", "wrong"),
    [
        (Within(0, 1), [0, 0.5, 1], [-1e-9, 1.1, float("nan"), float("inf")]),
        (Within(0, 1, above=True, below=True), [0.5], [0, 1]),
        (Multiple(32), [32, 64], [1, 33]),
        (Odd(), [1, 255], [2]),
        (OneOf("a", "b"), ["a"], ["c", ""]),
        (Text(), ["a b", "ü"], ["", " ", "a\tb", "\x7f"]),
        (Text(empty=True), [""], [" ", "\n"]),
        (Name(), ["stage1", "a b", "lua-tiny-d16", "x=1, y=2", "ü"], NAMES_OF_PLACES),
        (File(), ["README.md"], ["nowhere", "docs", ""]),
        (Each(Within(0, 1), least=1, most=2), [[0], (0, 1), {"a": 1}], [[], [2], [0, 0, 0], {"a": 2}, {"\n": 1}]),
        (Each(distinct=True), [[1, 2]], [[1, 1]]),
    ],
)
def test_each_kind_of_bound(bound, right, wrong):
    assert [value for value in right if bound.problem(value)] == []
    assert [value for value in wrong if not bound.problem(value)] == []


def test_wrong_types_of_a_programs_own_settings_are_named():
    for settings, said in [
        (OptimConfig(learning_rate="1"), "learning_rate=1 must be a finite number"),  # type: ignore[arg-type]
        (OptimConfig(betas=(0.9,)), "betas=.0.9. must be a list of 2 items"),  # type: ignore[arg-type]
        (CacheConfig(crop_px=True), "crop_px=True must be a whole number"),
        (CacheConfig(train_pixels=1), "train_pixels=1 must be true or false"),  # type: ignore[arg-type]
        (CacheConfig(codec=None), "codec=None must be text"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(UserError, match=said):
            check(settings)


def test_nested_settings_are_named_by_their_place():
    chain = ChainConfig(stages=[StageConfig(), StageConfig(share=-1)])
    with pytest.raises(UserError, match=r"stages\.1\.share=-1 must be above 0"):
        check(chain)
    with pytest.raises(UserError, match=r"variants\.a\.settings=\[''\] must each not be empty"):
        check(SweepConfig(variants={"a": VariantConfig(settings=[""])}))


def test_a_configuration_survives_yaml_and_json(tmp_path):
    settings = {"name": "mine", "train": {"steps": 7}, "adapter": {"scales": [2]}}
    for name, text in (("a.yaml", yaml.safe_dump(settings)), ("b.yaml", json.dumps(settings))):
        Path(tmp_path / name).write_text(text)
        assert load_config(RunConfig, tmp_path / name).train.steps == 7
