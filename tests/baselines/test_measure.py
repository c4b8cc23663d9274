import os
import statistics

import pytest
import torch

from baselines import measure as measuring
from baselines.contract import Start, World
from baselines.measure import Spread, measure, measure_apart
from lua_lightning.errors import UserError
from tests.lua_lightning.generators.pipelines import pipeline

START = Start(torch.zeros(1, 4, 8, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A generator that a fresh process can load."""
    path = tmp_path_factory.mktemp("generator")
    pipeline("StableDiffusionXLPipeline").save_pretrained(path)
    return str(path)


def test_warm_ups_do_not_count_and_the_rest_is_spread(world):
    start = world.start("a lake", 5, 64)
    measured = measure("lua", world, start, 128, [], repeats=3, warmups=2)
    assert {phase: spread.n for phase, spread in measured.seconds.items()} == {"generate": 1, "upscale": 3, "decode": 3}
    upscale = measured.seconds["upscale"]
    assert upscale.low <= upscale.median <= upscale.high
    values = [3.0, 1.0, 2.0, 9.0]
    assert Spread.of(values) == Spread(statistics.median(values), 1.0, 9.0, 4)


def test_a_method_runs_in_a_process_of_its_own(folder):
    world = World(folder, device="cpu")
    apart = measure_apart("latent-bicubic", world, START, 128, [])
    assert "generator" not in world.__dict__  # it was loaded there, not here
    assert apart.outcome.image.equal(measure("latent-bicubic", world, START, 128, []).outcome.image)
    with pytest.raises(UserError, match="needs a prompt"):
        measure_apart("lua-refine", world, START, 128, [])


def _die(*_):
    os._exit(9)


def test_a_method_that_dies_is_told(monkeypatch, folder):
    monkeypatch.setattr(measuring, "_child", _die)
    with pytest.raises(UserError, match="lua at 128 px ended with exit code 9"):
        measure_apart("lua", World(folder, device="cpu"), START, 128, [])
