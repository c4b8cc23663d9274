"""The examples in docstrings run and print what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "lua_lightning").rglob("*.py"))
    if ">>> " in path.read_text()
]


def test_there_are_examples():
    assert {"lua_lightning.pipeline", "lua_lightning.errors", "lua_lightning.models.adapter"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    results = doctest.testmod(import_module(name))
    assert results.attempted
    assert not results.failed
