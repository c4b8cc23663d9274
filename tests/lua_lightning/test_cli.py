import pytest

from lua_lightning.cli import main, parser


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
