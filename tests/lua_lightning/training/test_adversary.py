"""Stage IV: the discriminator by itself, and trainings against it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from lua_lightning.config import RunConfig, load_config
from lua_lightning.errors import UserError
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.training.adversary import Adversary, PatchDiscriminator, hinge
from lua_lightning.training.checks import check_run
from lua_lightning.training.train import train
from tests.lua_lightning.training.helpers import Stop, at_step, history, largest_difference, weights

WARM = ("adversary.start_step=2", "adversary.warmup_steps=2", "adversary.width=4")


def stage4(*settings):
    return load_config(RunConfig, Path("experiments/stage4.yaml"), settings)


def discriminator(results):
    path = Path(results["folder"]) / "checkpoints" / "last.ckpt"
    return torch.load(path, weights_only=True)


def test_the_hinge_loss_is_numpys():
    real, fake = (torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(n)) for n in (0, 1))
    wanted = np.maximum(0, 1 - real.numpy()).mean() + np.maximum(0, 1 + fake.numpy()).mean()
    assert float(hinge(real, fake)) == pytest.approx(wanted, rel=1e-6)


def test_the_discriminator_judges_each_image_by_itself_with_bounded_layers():
    torch.manual_seed(0)
    network = PatchDiscriminator(4)
    for _ in range(500):  # power iterations, which near the norm from below
        network(torch.zeros(1, 3, 16, 16))
    network.eval()
    images = torch.rand(3, 3, 20, 33)
    assert network(images).shape == (3, 1, 3, 5)
    torch.testing.assert_close(network(images)[1:2], network(images[1:2]))
    for layer in network:
        if isinstance(layer, torch.nn.Conv2d):
            norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
            assert float(norm) == pytest.approx(1, abs=0.02)


def test_the_discriminator_learns_to_tell_and_leaves_the_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    adversary = Adversary(stage4("adversary.start_step=0", "adversary.width=4", "adversary.learning_rate=0.01"))
    assert torch.equal(torch.rand(1), expected)
    targets, images = torch.rand(4, 3, 16, 16), torch.zeros(4, 3, 16, 16)
    losses = []
    for step in range(40):
        adversary.terms(images, targets, step, 1.0)
        adversary.step(step, lambda values: values)
        losses.append(float(adversary.shown["loss"]))
    assert losses[-1] < 0.7 * losses[0]


def test_the_adapters_term_follows_after_the_warm_up_and_leaves_no_gradient_behind():
    adversary = Adversary(stage4(*WARM))
    targets = torch.rand(1, 3, 16, 16)
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    assert adversary.terms(images, targets, 1, 1.0) == {}
    assert all(weight.grad is None for weight in adversary.network.parameters())
    assert adversary.terms(images, targets, 3, 1.0) == {}
    gathered = [weight.grad.clone() for weight in adversary.network.parameters()]
    assert images.grad is None
    adversary.optimizer.zero_grad()
    fresh = Adversary(stage4(*WARM))
    fresh.terms(images, targets, 3, 1.0)
    adversary = fresh
    term = adversary.terms(images, targets, 4, 0.0)["adversarial"]
    before = [weight.grad.clone() for weight in adversary.network.parameters()]
    term.backward()
    assert float(images.grad.abs().sum()) > 0
    assert all(torch.equal(a, weight.grad) for a, weight in zip(before, adversary.network.parameters(), strict=True))
    assert len(before) == len(gathered)


def test_a_step_with_gradients_that_are_not_finite_changes_nothing():
    adversary = Adversary(stage4("adversary.start_step=0", "adversary.width=4"))
    targets = torch.rand(1, 3, 16, 16)
    before = [weight.detach().clone() for weight in adversary.network.parameters()]
    adversary.terms(targets * float("nan"), targets, 0, 1.0)
    adversary.step(0, lambda values: values)
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))
    assert float(adversary.skipped) == 1
    adversary.terms(1 - targets, targets, 1, 1.0)
    adversary.step(50, lambda values: values)
    assert not all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))
    assert float(adversary.skipped) == 1


def test_a_resumed_stage_ends_bit_identical_and_shows_its_terms(settings, start, monkeypatch, tmp_path):
    short = ["train.steps=8", "validation.every=4", "train.joint_fraction=0.6", "train.accumulate=2"]
    config = stage4(*settings, start, *short, *WARM)
    whole = train(config)
    again = dataclasses.replace(config, runs=str(tmp_path / "again"))

    def crash(batch):
        raise Stop

    at_step(monkeypatch, 5, crash)
    with pytest.raises(Stop):
        train(again)
    resumed = train(again, resume="auto")
    for name in ("loss", "adversary/loss", "loss/adversarial"):
        assert history(resumed["run_id"], f"train/{name}") == history(whole["run_id"], f"train/{name}")
    assert largest_difference(weights(whole), weights(resumed)) == 0
    one, other = discriminator(whole), discriminator(resumed)
    assert largest_difference(one["adversary"]["network"], other["adversary"]["network"]) == 0
    first, last = LatentUpscaler.from_pretrained(config.adapter.init_from).state_dict(), weights(whole)
    assert set(first) == set(last)
    assert {name.partition(".")[0] for name in one["state_dict"]} == {"adapter", "ema"}  # no discriminator averaged
    run_id = whole["run_id"]
    assert set(history(run_id, "train/adversary/loss")) == set(range(2, 8))
    raw, weighted = (history(run_id, f"train/{kind}/adversarial") for kind in ("loss", "weighted"))
    assert set(raw) == set(range(4, 8))
    for step, value in raw.items():
        assert weighted[step] == pytest.approx(config.adversary.weight * value, rel=1e-5)
    assert set(history(run_id, "train/loss/pixel_l1")) == set(range(8))


def test_an_adversary_without_pixel_l1_is_refused():
    with pytest.raises(UserError, match=r"needs loss.pixel_l1 above 0"):
        check_run(stage4("loss.pixel_l1=0"))
