"""The command lines of the workbench's measurements: help explains, and a mistake is one sentence before any work."""

import importlib

import pytest

PROGRAMS = {"benchmarks": "benchmarks.__main__", "benchmarks.phases": None, "benchmarks.speed": None}


def main_of(program):
    return importlib.import_module(PROGRAMS[program] or program).main


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_opens_with_a_sentence_and_an_example_and_lists_what_can_be_chosen(program, capsys):
    with pytest.raises(SystemExit) as caught:
        main_of(program)(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    sentence, example = text.split("\n\n")[:2]
    assert sentence.startswith("Measure ")
    assert sentence.endswith(".")
    assert example.startswith(f"Example:\n  python -m {program}")
    assert "lsrna-demofusion" in text
    assert "default: " in text or "size=512" in text


@pytest.mark.parametrize(
    ("program", "arguments", "said"),
    [
        ("benchmarks", ["512", 'methods=["lau"]'], "did you mean 'lua'?"),
        ("benchmarks", ["--helpp"], "unknown option '--helpp': did you mean '--help'?"),
        ("benchmarks", ["methds=[]"], "methds"),
        ("benchmarks.phases", ["--methods", "lau"], "unknown method 'lau': did you mean 'lua'?"),
        ("benchmarks.phases", ["--generator", "tiny-sdxk"], "did you mean 'tiny-sdxl'?"),
        ("benchmarks.phases", ["--sizes", "300"], "300"),
        ("benchmarks.speed", ["--graph", "sdxl-smal"], "did you mean 'sdxl-small'?"),
        ("benchmarks.speed", ["--methods", "lau", "--out", "nowhere"], "unknown method 'lau': did you mean 'lua'?"),
        ("benchmarks.speed", ["--step", "3"], "unknown option '--step': did you mean '--steps'?"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(program, arguments, said, capsys):
    assert main_of(program)(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"python -m {program}: ")
    assert said in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
