"""Stage IV: a patch discriminator on decoded images, and the module that trains an adapter against it.

The discriminator is no part of the LightningModule's weights: it has its own optimiser, which steps behind the
adapter's, and its gradients are averaged over processes here. The average of the adapter's weights leaves it out.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from lua_lightning.config import RunConfig
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.training.curriculum import learning_rate_factor, supervised_scales
from lua_lightning.training.module import AdapterModule

LEVELS = 3  # each halves the size


class PatchDiscriminator(nn.Sequential):
    """Map images (N, 3, H, W) in [-1, 1] to one logit per patch, (N, 1, ceil(H / 8), ceil(W / 8)).

    Convolutions with spectral norm (arXiv 1802.05957), no other normalisation: each item is judged by itself, so that
    a batch that is spread over processes has the gradients of the whole batch.

    Args:
        width: Channels of the first layer; each further level doubles them.
    """

    def __init__(self, width: int) -> None:
        layers: list[nn.Module] = []
        channels = 3
        for level in range(LEVELS):
            layers += [spectral_norm(nn.Conv2d(channels, width << level, 3, 2, 1)), nn.LeakyReLU(0.2)]
            channels = width << level
        super().__init__(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, 1, 1)))


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return the discriminator's hinge loss of logits of any shape, a scalar (arXiv 1705.02894, section 2)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Adversary:
    """The discriminator with its optimiser.

    Args:
        config: The run. Its seed decides the first weights, which are equal on all processes.

    Attributes:
        skipped: How many of its steps were skipped because their gradients were not finite.
        shown: What the last images showed: loss and mean logits of targets and predictions.
    """

    def __init__(self, config: RunConfig) -> None:
        self.config, self.settings = config, config.adversary
        with torch.random.fork_rng(devices=[]):  # the adapter's stream of random numbers stays as it is
            torch.manual_seed(config.seed)
            self.network = PatchDiscriminator(self.settings.width)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), self.settings.learning_rate, betas=(0.0, 0.99), weight_decay=0.0, fused=True
        )
        self.skipped = torch.zeros(())
        self.shown: dict[str, Tensor] = {}

    def learns(self, step: int) -> bool:
        """Return whether the discriminator learns at `step`."""
        return step >= self.settings.start_step

    def counts(self, step: int) -> bool:
        """Return whether the adapter follows the discriminator at `step`."""
        return step >= self.settings.start_step + self.settings.warmup_steps

    def to(self, device: torch.device) -> None:
        """Move the discriminator."""
        self.network.to(device)
        self.skipped = self.skipped.to(device)

    def terms(self, images: Tensor, targets: Tensor, step: int, share: float) -> dict[str, Tensor]:
        """Return the adapter's adversarial term, if it counts yet, and gather the discriminator's gradients.

        Args:
            images: Decoded predictions (N, 3, H, W), around [-1, 1].
            targets: Same shape.
            step: Which decides on the warm-up.
            share: Of this batch and head in the discriminator's step.
        """
        if not self.learns(step):
            return {}
        found = {}
        with torch.autocast(images.device.type, enabled=False):
            if self.counts(step):
                self.network.requires_grad_(False)  # the adapter's backward pass leaves no gradient there
                found["adversarial"] = -self.network(images.float()).mean()
                self.network.requires_grad_(True)
            real, fake = self.network(torch.cat([targets, images]).detach().float()).chunk(2)
            loss = hinge(real, fake)
            (loss * share).backward()
        self.shown = {"loss": loss.detach(), "real": real.detach().mean(), "fake": fake.detach().mean()}
        return found

    def step(self, step: int, mean: Any) -> None:
        """Update the discriminator by the gathered gradients, or skip a step whose gradients are not finite.

        Args:
            step: Of the adapter, which decides the learning rate.
            mean: Averages a tensor over all processes.
        """
        if not self.learns(step):
            return
        weights = list(self.network.parameters())
        gradients: list[Tensor] = [weight.grad for weight in weights if weight.grad is not None]
        whole = mean(nn.utils.parameters_to_vector(gradients))
        nn.utils.vector_to_parameters(whole, gradients)
        norm = nn.utils.get_total_norm(gradients)
        nn.utils.clip_grads_with_norm_(weights, self.settings.gradient_clip, norm)
        broken = (~torch.isfinite(norm)).float()
        self.skipped = self.skipped + broken
        factor = learning_rate_factor(step, self.config.train.steps, self.config.optim)
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * factor
        self.optimizer.found_inf = broken  # type: ignore[attr-defined]  # as gradient scalers tell it
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        optimizer = self.optimizer.state_dict()
        return {"network": self.network.state_dict(), "optimizer": optimizer, "skipped": self.skipped.cpu()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.skipped = state["skipped"].to(self.skipped.device)


class AdversarialModule(AdapterModule):
    """Train an adapter as `AdapterModule` does, and against a discriminator of its decoded images."""

    def __init__(self, config: RunConfig, adapter: LatentUpscaler, codec: LatentCodec):
        super().__init__(config, adapter, codec)
        self.adversary = Adversary(config)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.adversary.to(self.device)

    def more_terms(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the adversarial term of one head's images, as `Adversary.terms` does."""
        heads = len(supervised_scales(self.config, self.global_step))
        share = 1 / (heads * self.config.train.accumulate)
        return self.adversary.terms(images, targets, self.global_step, share)

    def _values(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        values = {"skipped_steps": self.adversary.skipped, **self.adversary.shown}
        return super()._values(*args, **kwargs) | {f"train/adversary/{name}": value for name, value in values.items()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step the adapter and then the discriminator, both on what they saw of each other before."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.adversary.step(step, lambda values: self.trainer.strategy.reduce(values, reduce_op="mean"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["adversary"] = self.adversary.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.adversary.load_state_dict(checkpoint["adversary"])


def adapter_module(config: RunConfig, adapter: LatentUpscaler, codec: LatentCodec) -> AdapterModule:
    """Return the module that trains a run: with an adversary where its weight is above 0."""
    return (AdversarialModule if config.adversary.weight else AdapterModule)(config, adapter, codec)
