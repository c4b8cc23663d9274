"""The mechanism of commands, on a command line of its own."""

import argparse

import pytest

from lua_lightning.commands.command import Command, CommandLine, Parser, add_settings, listing, run_command
from lua_lightning.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("photo", help="image file")
    add_settings(parser, "settings of the picture")
    parser.add_argument("--width", type=int, default=3, help="width in pixels")
    parser.add_argument("--fast", action="store_true", help="hurry")


def paint(options: argparse.Namespace) -> int:
    if options.width > 9:
        raise UserError("--width 10 is too wide: give at most 9")
    print(options.photo, options.width, options.overrides)
    return options.width


PAINT = Command(
    "paint",
    "Paint a picture.",
    "easel paint a.png",
    add_arguments,
    paint,
    details=lambda: listing("choices", {"colours": ["red", "blue"]}),
)
REST = Command("rest", "Do nothing.", "easel rest", lambda parser: None, lambda options: None)
EASEL = CommandLine("easel", "Paint or rest.", "easel paint a.png", (PAINT, REST), version="1.2")


def help_of(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        EASEL.main(arguments)
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_a_command_runs_and_settings_may_stand_anywhere(capsys):
    assert EASEL.main(["paint", "a.png", "x=1", "--width", "4", "y=2"]) == 4
    assert capsys.readouterr().out == "a.png 4 ['x=1', 'y=2']\n"
    assert EASEL.main(["rest"]) == 0
    assert run_command(PAINT, "python -m paint", ["a.png"]) == 3


def test_help_opens_with_a_sentence_and_an_example_and_shows_defaults_and_choices(capsys):
    text = help_of(["paint", "--help"], capsys)
    assert text.startswith("Paint a picture.\n\nExample:\n  easel paint a.png\n\nusage: easel paint ")
    assert "width in pixels (default: 3)" in text
    assert "hurry\n" in text
    assert "colours: red, blue" in text


def test_the_bare_program_prints_its_table(capsys):
    assert EASEL.main([]) == 0
    text = capsys.readouterr().out
    assert text == help_of(["--help"], capsys)
    assert text.startswith("Paint or rest.")
    assert "Do nothing." in text


def test_an_installed_program_tells_its_version_and_completes_in_shells(capsys):
    assert help_of(["--version"], capsys) == "easel 1.2\n"
    script = help_of(["--print-completion", "bash"], capsys)
    assert "paint" in script
    assert "--width" in script


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["piant"], "easel: unknown command 'piant': did you mean 'paint'?"),
        (["--verison"], "easel: unknown option '--verison': did you mean '--version'?"),
        (["paint", "a.png", "--widht", "4"], "easel paint: unknown option '--widht': did you mean '--width'?"),
        (["paint", "a.png", "--wid=4"], "easel paint: unknown option '--wid': did you mean '--width'?"),
        (["paint"], "required: photo"),
        (["paint", "a.png", "--width", "x"], "argument --width: invalid int value: 'x'"),
        (["paint", "a.png", "--width", "10"], "easel paint: --width 10 is too wide"),
        (["rest", "x=1"], "easel rest: unexpected argument 'x=1'"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(arguments, said, capsys):
    assert EASEL.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_settings_are_never_asked_for():
    parser = Parser(prog="easel paint")
    parser.add_argument("subject")
    add_settings(parser, "settings")
    with pytest.raises(UserError, match="the following arguments are required: subject "):
        parser.parse_strictly([])
    assert parser.parse_strictly(["lake", "size=3"]).overrides == ["size=3"]
    assert parser.parse_strictly(["lake"]).overrides == []
