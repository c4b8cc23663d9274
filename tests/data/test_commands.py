"""`python -m data` as a command line: its recipes are its table."""

import shlex
import subprocess
import sys

import pytest

from data.__main__ import command, main
from data.recipes import RECIPES
from lua_lightning.commands.command import Parser


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def test_the_bare_program_lists_every_recipe(capsys):
    assert main([]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Prepare photographs to train and measure on.\n\nExample:\n  python -m data photos\n")
    assert [name for name, recipe in RECIPES.items() if f"{name}" not in text or recipe.summary not in text] == []


@pytest.mark.parametrize("name", RECIPES)
def test_help_opens_with_a_sentence_and_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Prepare {RECIPES[name].summary}."
    assert lines[3].startswith(f"  python -m data {name}")
    parser = Parser()
    command(name).add_arguments(parser)
    parser.parse_strictly(shlex.split(lines[3])[4:])
    assert any(f"(default: {RECIPES[name].min_side}, the recipe's own)" in line for line in lines)
    assert any(f"(default: data/{name})" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fotos"], "did you mean 'photos'"),
        (["photos", "--outt", "x"], "did you mean '--out'"),
        (["folder"], "required: path"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_help_does_not_wait_for_pytorch():
    script = "import sys\nfrom data.__main__ import main\nmain([])\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0
