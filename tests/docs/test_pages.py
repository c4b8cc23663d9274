"""Every link of the pages leads somewhere, and every command line on them is one that the programs accept."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

import lua_lightning
from benchmarks.__main__ import COMMAND as BENCHMARKS
from benchmarks.config import BenchConfig
from data.__main__ import command as recipe
from data.recipes import RECIPES
from docs.line_length import long_lines
from lua_lightning.cli import command_line
from lua_lightning.commands.command import Parser
from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.markdown import WIDTH, wrap
from lua_lightning.training.chain import load_chain
from lua_lightning.training.checks import check_run
from tests.docs.pages import PAGES, ROOT, anchors, dry_run, shell_lines

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
LINES = [(path, line) for path in PAGES for line in shell_lines(path)]
PLACEHOLDER = re.compile(r"(^|\s)\.\.\.|<|\bTIME\b|\bFILE\b|\bRUN\b|/\.\.\./|my-")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        if re.match(r"https?://", target):
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file) if file else path
        assert page.exists(), f"{path.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(page), f"{path.name} links to {target}, a heading that is not there"


def parsed(table, program, arguments):
    """Return what a command's real parser makes of its arguments."""
    command = table[arguments[0]]
    parser = Parser(prog=f"{program} {command.name}")
    command.add_arguments(parser)
    return command.name, parser.parse_strictly(arguments[1:])


def check_settings(name, options):
    """Load the file and the settings that a command line names."""
    if name == "chain":
        load_chain(Path(options.chain), options.overrides)
    elif name in ("train", "cache"):
        check_run(load_config(RunConfig, Path(options.experiment), options.overrides))


def check(line):
    """Have the program that a command line starts look at its arguments."""
    words = shlex.split(line)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        done = dry_run(words[1:])
        assert done.returncode == 0, done.stderr
    elif program == "lua-lightning":
        name, options = parsed({command.name: command for command in command_line().commands}, program, words[1:])
        if not PLACEHOLDER.search(line):
            check_settings(name, options)
    elif words[1:3] == ["-m", "data"]:
        parsed({name: recipe(name) for name in RECIPES}, "python -m data", words[3:])
    elif words[1:3] == ["-m", "benchmarks"]:
        _, options = parsed({"benchmarks": BENCHMARKS}, "python -m", ["benchmarks", *words[3:]])
        load_config(BenchConfig, None, [item for item in options.overrides if not item.isdigit()])
    else:
        assert program in ("git", "cd", "torchrun", "sbatch"), f"nothing checks {line!r}"


@pytest.mark.parametrize(("path", "line"), LINES, ids=lambda value: getattr(value, "name", value))
def test_a_command_line_is_one_that_its_program_accepts(path, line):
    check(line)


@pytest.mark.parametrize(
    "line",
    ["make trian-stage1", "lua-lightning upscale photo.jpg --scael 2", "lua-lightning train experiments/nope.yaml",
     "lua-lightning train experiments/stage1.yaml train.stesp=3", "python -m data foldr", "pip install this"],
)  # fmt: skip
def test_a_wrong_command_line_would_be_found(line):
    with pytest.raises((AssertionError, UserError, KeyError)):
        check(line)


def test_the_readme_has_its_two_commands_first():
    commands = [line for line in shell_lines(ROOT / "README.md") if line.startswith("make ")]
    assert commands[1:3] == ["make train-stage1", "make mlflow-ui"]  # after `make setup`


def test_versions_agree():
    (version,) = re.findall(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert version == lua_lightning.__version__ == citation["version"]
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert "## Unreleased" in (ROOT / "CHANGELOG.md").read_text()


def test_hooks_before_a_commit_call_what_is_there():
    hooks = [
        hook
        for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repo["hooks"]
    ]
    assert {hook["id"] for hook in hooks} == {"ruff", "ruff-format", "markdown-lines", "pyright"}
    for hook in hooks:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")


def test_long_lines_of_markdown_are_found(tmp_path):
    page = tmp_path / "page.md"
    words = "word " * 40
    page.write_text(f"{words}\n\n| {words} |\n\n![{words}](x.png)\n\n{'x' * 200}\n")
    (found,) = long_lines(page)
    assert found.startswith(f"{page}:1: 200 characters")
    page.write_text(wrap(page.read_text()))
    assert not long_lines(page)
    assert page.read_text().split() == f"{words} | {words} | ![{words}](x.png) {'x' * 200}".split()


def test_wrapped_markdown_says_the_same():
    text = "# A heading that is long\n\n- one two three four\n  five\n- six\n\n```\ncode that is long\n```\n"
    assert wrap(text, 12) == text.replace("- one two three four\n  five", "- one two\n  three four\n  five")
    assert wrap(text, WIDTH) == text
