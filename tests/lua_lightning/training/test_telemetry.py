"""What a step costs beside its maths: waits for the device, collectives, and the time that is counted."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.training import curriculum, telemetry
from lua_lightning.training.callbacks import CleanStop
from lua_lightning.training.checkpoints import LastCheckpoint
from lua_lightning.training.module import AdapterModule
from lua_lightning.training.telemetry import PATIENCE, StepMonitor, Throughput
from lua_lightning.training.train import make_trainer, train
from tests.lua_lightning.training.helpers import Stop, at_step, history, largest_difference, weights


@pytest.fixture
def config(settings, monkeypatch) -> RunConfig:
    short = ["train.steps=20", "validation.every=20", "train.checkpoint_every=20"]
    return load_config(RunConfig, Path("experiments/stage1.yaml"), [*settings, *short])


class Waits(TorchDispatchMode):
    """Count, by name, what makes the host read a tensor or processes wait for each other."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.monkeypatch, self.on = monkeypatch, False
        for name in ("cpu", "numpy", "tolist"):  # on the CPU these reach no kernel that could be counted
            original = getattr(torch.Tensor, name)
            monkeypatch.setattr(torch.Tensor, name, self._counted(name, original))

    def _count(self, name):
        self.counts[name] += self.on

    def _counted(self, name, original):
        def call(tensor, *arguments, **named):
            self._count(name)
            return original(tensor, *arguments, **named)

        return call

    def leave_out(self, owner, name):
        """Do not count what `owner.name` reads: it works on host memory whatever the device."""
        original = getattr(owner, name)

        def call(*arguments, **named):
            was, self.on = self.on, False
            try:
                return original(*arguments, **named)
            finally:
                self.on = was

        self.monkeypatch.setattr(owner, name, call)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "_local_scalar_dense" in str(func) or "c10d" in str(func):  # item(), float(), int(), bool()
            self._count(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_twenty_steps_read_the_device_once(stage, settings, start, monkeypatch):
    """The report of the last step is the one wait; all else is done without looking at a number."""
    more = ["train.steps=20", "validation.every=20", "train.log_every=20", "train.checkpoint_every=20"]
    config = load_config(RunConfig, Path(f"experiments/{stage}.yaml"), [*settings, *more, start])
    waits = Waits(monkeypatch)
    waits.leave_out(PairDataset, "__getitem__")
    waits.leave_out(curriculum, "draw")
    begin, step = AdapterModule.on_train_batch_start, AdapterModule.optimizer_step

    def on_train_batch_start(self, *arguments):
        begin(self, *arguments)
        waits.on = True

    def optimizer_step(self, *arguments, **named):
        step(self, *arguments, **named)
        waits.on = self.global_step < 19

    monkeypatch.setattr(AdapterModule, "on_train_batch_start", on_train_batch_start)
    monkeypatch.setattr(AdapterModule, "optimizer_step", optimizer_step)
    with waits:
        train(config)
    assert +waits.counts == {"tolist": 1, "aten._local_scalar_dense.default": 1}  # `ema.n_averaged`, once at the start


def poison(monkeypatch, first, count):
    """Put a NaN into the target of `count` steps from `first` on."""
    original = AdapterModule.training_step

    def training_step(self, batch, batch_index):
        if first <= self.global_step < first + count:
            batch["hr"][0, 0, 0, 0] = float("nan")
        return original(self, batch, batch_index)

    monkeypatch.setattr(AdapterModule, "training_step", training_step)


def test_a_step_without_finite_gradients_is_skipped_and_counted(config, monkeypatch):
    poison(monkeypatch, 3, 1)
    with pytest.warns(RuntimeWarning, match=r"the loss became nan by step 3 on a batch from images/\d\.png"):
        results = train(config)
    skipped = history(results["run_id"], "train/skipped_steps")
    assert [skipped[step] for step in (2, 3, 19)] == [0, 1, 1]
    assert 3 not in history(results["run_id"], "train/loss")
    assert all(value.isfinite().all() for value in weights(results).values())


def test_a_finite_loss_with_broken_gradients_is_skipped_too(config, monkeypatch):
    original = AdapterModule.on_after_backward

    def on_after_backward(self):
        original(self)
        if self.global_step == 3:
            self.adapter.conv_first.weight.grad[0, 0, 0, 0] = float("inf")

    monkeypatch.setattr(AdapterModule, "on_after_backward", on_after_backward)
    with pytest.warns(RuntimeWarning, match="the gradients were not finite by step 3"):
        results = train(config)
    assert all(value.isfinite().all() for value in weights(results).values())
    assert 3 in history(results["run_id"], "train/loss")


def test_a_skipped_step_leaves_weights_and_optimiser_as_they_were():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    monitor = StepMonitor()
    for gradient in (1.0, float("nan"), 2.0):
        weight.grad = torch.full((3,), gradient)
        before = weight.detach().clone(), dict(optimizer.state[weight])
        before[1].update({name: value.clone() for name, value in before[1].items()})
        optimizer.found_inf = monitor.step(weight.grad.norm())
        optimizer.step()
        if gradient != gradient:
            assert weight.equal(before[0])
            assert all(optimizer.state[weight][name].equal(value) for name, value in before[1].items())
        else:
            assert not weight.equal(before[0])
    assert monitor.skipped.tolist() == [1, 0]


def test_training_stops_when_no_step_succeeds(config, monkeypatch):
    poison(monkeypatch, 3, 17)
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(UserError, match=rf"nan in each of the last {PATIENCE} steps .* images/\d\.png"),
    ):
        train(config)


def test_what_is_reported_is_the_mean_of_the_micro_batches():
    monitor = StepMonitor()
    monitor.see(torch.tensor(1.0), [0], {"train/loss": torch.tensor(1.0)})
    monitor.see(torch.tensor(3.0), [1], {"train/loss": torch.tensor(3.0)})
    monitor.step(torch.tensor(0.5))
    shown = monitor.report(lambda values: values)
    assert shown == {"train/loss": 2.0, "gradient_norm": 0.5, "skipped_steps": 0.0}


def test_the_clock_counts_waiting_for_data_but_no_checkpoint(monkeypatch):
    now = iter([0.0, 2.0, 5.0, 100.0, 101.0, 103.0, 110.0])
    monkeypatch.setattr(telemetry.time, "perf_counter", lambda: next(now))
    clock = Throughput()
    clock.ask()  # 0
    clock.fetch()  # 2: waited for 2
    clock.stepped()  # 5
    clock.finish(8)  # 100: a checkpoint lay between
    clock.fetch()  # 101: waited for 1
    clock.finish(8)  # 103: a micro-batch without an optimiser step; the next is asked for at 110
    assert (clock.seconds, clock.waiting, clock.images) == (8.0, 3.0, 16)
    assert clock.images_per_second == 2
    assert clock.data_wait == 3 / 8


def test_processes_exchange_gradients_without_copies_and_no_buffers(config, tmp_path):
    two = dataclasses.replace(config, train=dataclasses.replace(config.train, accelerator="cpu", devices="2"))
    stop = CleanStop(None, LastCheckpoint(tmp_path, 1))
    trainer = make_trainer(two, False, tmp_path, stop)  # no logger
    assert trainer.strategy._ddp_kwargs == {"gradient_as_bucket_view": True, "broadcast_buffers": False}


def test_a_checkpoint_of_an_optimiser_that_was_not_fused_goes_on(config, monkeypatch):
    """Runs of earlier versions: their optimiser's groups say so, and their speed stood under a callback."""
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, steps=4, checkpoint_every=2))
    whole = train(config)
    again = dataclasses.replace(config, runs=config.runs + "-again")

    def crash(batch):
        raise Stop

    at_step(monkeypatch, 3, crash)
    with pytest.raises(Stop):
        train(again)
    (path,) = Path(again.runs).glob("*/*/checkpoints/last.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["callbacks"]["Throughput"] = {"images": 8, "seconds": 1.0}
    del checkpoint["throughput"], checkpoint["skipped_steps"]
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        group.update(fused=None, foreach=None)
    torch.save(checkpoint, path)
    assert largest_difference(weights(whole), weights(train(again, resume="auto"))) < 1e-6
