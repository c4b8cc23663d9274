import pytest

from lua_lightning.cli import main, parse, parser


@pytest.mark.parametrize("command", ["train", "upscale", "evaluate", "train-codec", "sync", "doctor"])
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as caught:
        parser().parse_args([command, "--help"])
    assert caught.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
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


def test_settings_may_stand_after_options():
    parsed = parse(["generate", "a lake", "steps=3", "--method", "demofusion", "sigma=0.5", "--size", "512", "eta=0"])
    assert parsed.overrides == ["steps=3", "sigma=0.5", "eta=0"]
    assert (parsed.prompt, parsed.method, parsed.size) == ("a lake", "demofusion", 512)


@pytest.mark.parametrize("rest", [["--sise", "512"], ["steps=3", "--sise"]])
def test_an_unknown_option_is_still_refused(rest, capsys):
    with pytest.raises(SystemExit):
        parse(["generate", "a lake", "--method", "lua", *rest])
    assert "unrecognized arguments" in capsys.readouterr().err


def test_a_command_without_settings_takes_none(capsys):
    with pytest.raises(SystemExit):
        parse(["doctor", "steps=3"])
    assert "unrecognized arguments: steps=3" in capsys.readouterr().err
