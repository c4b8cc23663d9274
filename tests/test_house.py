"""The size of the pieces: a function or a file that grows past these bounds is usually two things."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTION, FILE = 50, 350
SOURCES = sorted(
    path
    for folder in ("lua_lightning", "baselines", "benchmarks", "data", "docs", "comfyui", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


@pytest.mark.parametrize("folder", ["lua_lightning", "baselines", "benchmarks", "data", "docs", "comfyui", "tests"])
def test_no_function_and_no_file_is_two_things(folder):
    long = []
    for path in (source for source in SOURCES if source.relative_to(ROOT).parts[0] == folder):
        text = path.read_text()
        if (lines := len(text.splitlines())) > FILE:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > FUNCTION:
                    long.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert not long
