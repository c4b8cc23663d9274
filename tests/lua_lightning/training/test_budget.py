"""A chain within a time: steps by measured speed, recorded, and kept when the chain goes on."""

import json
from pathlib import Path

import pytest

from lua_lightning.config import RunConfig, load_config
from lua_lightning.training import budget as budget_module
from lua_lightning.training.budget import FEWEST_STEPS, Budget, seconds_per_step
from lua_lightning.training.chain import run_chain
from lua_lightning.training.runs import CONFIG
from tests.lua_lightning.training.helpers import Stop


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when told to, and steps of a known length."""
    now = {"time": 100.0, "step": 0.5}
    monkeypatch.setattr(budget_module.time, "monotonic", lambda: now["time"])
    monkeypatch.setattr(budget_module, "seconds_per_step", lambda run, init_from: now["step"])
    return now


def run_of(*settings):
    return load_config(RunConfig, None, ["loss.latent_l1=1", *settings])


def test_a_stage_takes_its_share_of_what_is_left(clock):
    budget = Budget(10, [1.0, 3.0])
    first = budget.fitted(run_of(), 0, None)
    assert first.train.steps == int((600 - 2 * 20) / 4 / 0.5)
    assert (first.validation.every, first.train.checkpoint_every) == (first.train.steps, 200)
    clock["time"] += 200.0
    budget.close(200.0, 190.0)  # validation and export took 10 s
    second = budget.fitted(run_of(), 1, None)
    assert second.train.steps == int((600 - 200 - 10) / 0.5)


def test_a_stage_without_time_still_takes_a_few_steps(clock):
    clock["step"] = 1e6
    run = Budget(1, [1.0]).fitted(run_of(), 0, None)
    assert run.train.steps == run.train.checkpoint_every == FEWEST_STEPS
    assert run.optim.warmup_steps < FEWEST_STEPS


def test_steps_are_measured_and_leave_nothing_behind(settings, tmp_path):
    before = set(Path(tmp_path).rglob("*"))
    assert 0 < seconds_per_step(load_config(RunConfig, None, [*settings, "loss.latent_l1=1"]), None) < 10
    assert {path for path in set(Path(tmp_path).rglob("*")) - before if path.name != "mlflow.db"} == set()


def test_a_chain_keeps_the_steps_it_began_with(settings, monkeypatch, tmp_path):
    from lua_lightning.training.module import AdapterModule

    monkeypatch.setattr(budget_module, "seconds_per_step", lambda run, init_from: 1.0)
    monkeypatch.setattr(budget_module, "CLOSING_SECONDS", 0.0)
    original = AdapterModule.training_step

    def training_step(self, batch, batch_index):
        if self.config.stage == "stage2" and self.global_step == 3:
            raise Stop
        return original(self, batch, batch_index)

    monkeypatch.setattr(AdapterModule, "training_step", training_step)
    chain = tmp_path / "chain.yaml"
    stages = [
        {"experiment": str(Path(f"experiments/stage{number}.yaml").resolve()), "share": number} for number in (1, 2)
    ]
    chain.write_text(json.dumps({"name": "timed", "stages": stages}))
    with pytest.raises(Stop):
        run_chain(chain, settings, minutes=0.5)
    (begun,) = (load_config(RunConfig, path) for path in tmp_path.rglob(f"stage2/*/{CONFIG}"))
    monkeypatch.setattr(AdapterModule, "training_step", original)
    monkeypatch.setattr(budget_module, "seconds_per_step", lambda run, init_from: 0.001)  # a faster machine
    report = run_chain(chain, settings, resume=True, minutes=0.5)
    assert report["stages"]["stage1"]["steps"] == FEWEST_STEPS
    assert report["stages"]["stage2"]["steps"] == begun.train.steps
