"""The command line as a whole: its table, its help, its mistakes."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lua_lightning
from lua_lightning import cli
from lua_lightning.cli import COMMANDS, command_line, main
from lua_lightning.generators.catalogue import GENERATORS
from lua_lightning.models.known_codecs import KNOWN
from lua_lightning.zoo import zoo_adapters, zoo_autoencoders

NAMES = [command.name for command in command_line().commands]


@pytest.fixture(autouse=True)
def wide_terminal_in_the_checkout(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(Path(__file__).parents[2])


def help_of(name: str, capsys) -> str:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def test_every_task_has_a_command():
    assert set(NAMES) == {
        "upscale", "train", "chain", "sweep", "search", "cache", "evaluate", "compare", "train-codec",
        "train-generator", "sync", "demo", "doctor", "generate", "export", "crisp", "table", "vote", "votes",
        "zoo",
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help_opens_with_a_sentence_and_a_whole_example_and_shows_every_default(name, capsys):
    text = help_of(name, capsys)
    sentence, _, title, example = text.splitlines()[:4]
    assert sentence.endswith(".")
    assert title == "Example:"
    assert example.startswith(f"  lua-lightning {name}")
    (command,) = (command for command in command_line().commands if command.name == name)
    parser = command_line().parser()._subparsers._group_actions[0].choices[name]  # type: ignore[union-attr]
    for action in parser._actions:
        assert action.help, (name, action.dest)
        takes_a_value = action.option_strings and action.nargs != 0 and not action.required
        if takes_a_value and action.const is None:
            assert "default" in parser._get_formatter()._expand_help(action), (command.name, action.dest)


def test_every_example_is_a_command_line_that_parses():
    parser = command_line().parser()
    for command in command_line().commands:
        program, *arguments = shlex.split(command.example)
        assert program == "lua-lightning"
        parser.parse_strictly(arguments)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("upscale", [*zoo_adapters(), *zoo_autoencoders(), *KNOWN]),
        ("evaluate", [*zoo_adapters(), "val", "test"]),
        ("compare", ["val", "test"]),
        ("export", [*zoo_adapters(), "diffusers", "modular", "pipeline", "comfyui", "onnx"]),
        ("generate", [*GENERATORS, *zoo_adapters(), "demofusion", "lua-refine"]),
        ("sweep", ["local", "slurm", "experiments/sweeps/losses.yaml"]),
        ("chain", ["experiments/chains/full.yaml"]),
        ("search", ["experiments/searches/losses.yaml"]),
        ("cache", ["experiments/stage1.yaml"]),
        (
            "train",
            [
                "experiments/stage1.yaml",
                *KNOWN,
                "train.steps=2000",
                "loss_options.fft_norm=ortho",
                "cache.codec=tiny-d16",
            ],
        ),
        ("train-codec", ["latent_channels=16"]),
        ("train-generator", ["caption_dropout=0.1"]),
    ],
)
def test_help_lists_what_can_be_chosen(name, listed, capsys):
    text = help_of(name, capsys)
    assert [choice for choice in listed if choice not in text] == []


@pytest.mark.parametrize("name", NAMES)
def test_help_does_not_wait_for_pytorch(name):
    script = "import sys\nfrom lua_lightning.cli import main\n"
    script += f"try: main([{name!r}, '--help'])\nexcept SystemExit: pass\n"
    script += "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], stdout=subprocess.DEVNULL).returncode == 0


def test_the_module_and_the_script_are_the_same_program():
    environment = {**os.environ, "COLUMNS": "80"}
    for arguments in (["--version"], ["--help"], []):
        outputs = [
            subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, env=environment)
            for module in ("lua_lightning", "lua_lightning.cli")
        ]
        assert [output.returncode for output in outputs] == [0, 0]
        assert outputs[0].stdout == outputs[1].stdout


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"lua-lightning {lua_lightning.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_shells_complete_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--print-completion", shell])
    assert caught.value.code == 0
    script = capsys.readouterr().out
    assert [name for name in NAMES if name not in script] == []
    assert "retry-failed" in script


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "did you mean 'train'"),
        (["--verison"], "did you mean '--version'"),
        (["generate", "a lake", "--sise", "512"], "did you mean '--size'"),
        (["generate", "a lake", "--metod=lua", "steps=3"], "did you mean '--method'"),
        (["generate", "a lake", "--method", "demofushion"], "did you mean 'demofusion'"),
        (["generate", "a lake", "--device", "tpu"], "--device tpu is no device that models run on"),
        (["generate", "a lake", "--device", "meta"], "--device meta is no device that models run on"),
        (["doctor", "steps=3"], "unexpected argument 'steps=3'"),
        (["export", "lua-tiny-d16", "onxx", "--out", "somewhere"], "did you mean 'onnx'"),
        (["compare", "--split", "tset", "a", "b"], "'val', 'test'"),
        (["train", "experiments/stage1.yaml", "train.stepz=1"], "did you mean 'train.steps'"),
        (["train", "experiments/stgae1.yaml"], "stgae1.yaml"),
        (["train", "experiments/stage1.yaml", "data.photos=/nowhere"], "python -m data photos"),
        (["train", "experiments/stage1.yaml", "--resume", "/nowhere"], "not a run folder"),
        (["sync", "/nowhere"], "holds no tracked run"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(arguments, said, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1


def test_a_package_whose_command_cannot_be_loaded_breaks_no_other(monkeypatch, capsys):
    class Entry:
        name = "paint"

        def load(self):
            raise ImportError("no module named 'easel'")

    monkeypatch.setattr(cli, "entry_points", lambda group: [Entry()])
    assert [command.name for command in command_line().commands] == [*(c.name for c in COMMANDS), "paint"]
    assert main([]) == 0
    assert "paint" in capsys.readouterr().out
    assert main(["paint"]) == 2
    assert "no module named 'easel'" in capsys.readouterr().err
