"""What tests of whole trainings share."""

import mlflow

from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.training.module import AdapterModule


def history(run_id, key):
    points = mlflow.MlflowClient().get_metric_history(run_id, key)
    return {point.step: point.value for point in points}


def weights(results):
    return LatentUpscaler.from_pretrained(results["adapter"]).state_dict()


def largest_difference(one, other):
    return max(float((a.float() - b.float()).abs().max()) for a, b in zip(one.values(), other.values(), strict=True))


class Stop(Exception):
    """What a test raises inside training."""


def at_step(monkeypatch, step, action):
    """Let `action` happen once in the training step that would be the `step`-th update."""
    original = AdapterModule.training_step

    def training_step(self, batch, batch_index):
        if self.global_step == step:
            monkeypatch.setattr(AdapterModule, "training_step", original)
            action(batch)
        return original(self, batch, batch_index)

    monkeypatch.setattr(AdapterModule, "training_step", training_step)
