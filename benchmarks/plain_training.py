"""A plain training loop in PyTorch, one step after the other: what `benchmarks.train_speed` compares ours with."""

import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.parts import PartTimes
from benchmarks.plain_losses import PLAIN
from lua_lightning.config import RunConfig
from lua_lightning.models.codec import LatentCodec
from lua_lightning.pairs.dataset import StreamSampler
from lua_lightning.training.curriculum import decoded_window
from lua_lightning.training.losses import TERMS, active

ENDLESS = 10**9


class PlainLoop:
    """The steps of a run as a textbook would write them: the same losses, batches, windows and precision as ours.

    Args:
        model: Maps latents and a scale to enlarged latents.
        codec: The frozen autoencoder.
        config: The run.
        data: Training pairs.
        mixed: Whether the network computes in bfloat16 by autocast.
        log: File that receives a line of JSON for each logged step.
        times: Of the parts of a step.
    """

    def __init__(
        self,
        model: nn.Module,
        codec: LatentCodec,
        config: RunConfig,
        data: Dataset,
        mixed: bool,
        log: Path,
        times: PartTimes,
    ) -> None:
        self.model, self.codec, self.config, self.mixed, self.log, self.times = model, codec, config, mixed, log, times
        optim = config.optim
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optim.name]
        self.optimizer = kind(model.parameters(), lr=optim.learning_rate, betas=optim.betas)
        self.average = copy.deepcopy(model).requires_grad_(False)
        sampler = StreamSampler(0, ENDLESS)
        self.batches = iter(DataLoader(data, config.train.batch_size, sampler=sampler))
        self.steps = 0

    def step(self) -> None:
        """Take one step."""
        device = self.codec.device
        with self.times("data"):
            batch = next(self.batches)
            batch = {name: values.to(device) for name, values in batch.items()}
        self.optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=self.mixed):
            terms = self.terms(batch)
            loss = torch.stack([self.config.loss[name] * value for name, value in terms.items()]).sum()
        with self.times("backward"):
            loss.backward()
        with self.times("optimiser"):
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.gradient_clip)
            self.optimizer.step()
            self._follow()
        with self.times("logging"):
            if (self.steps + 1) % self.config.train.log_every == 0:
                values = {"loss": loss.item(), **{name: value.item() for name, value in terms.items()}}
                with self.log.open("a") as file:
                    file.write(json.dumps(values) + "\n")
        self.steps += 1

    def terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return each loss term of a batch before its weight, averaged over the scales."""
        config, codec, target = self.config, self.codec, None
        window = decoded_window(config.train, config.seed, self.steps)
        if active(config.loss, "pixel"):
            with self.times("decode"), torch.no_grad():
                target = window.trim(codec.decode(window.cut(batch["hr"])), codec.downscale)
        found: dict[str, list[Tensor]] = {name: [] for name, weight in config.loss.items() if weight}
        for scale in config.adapter.scales:
            with self.times("forward"):
                prediction = self.model(batch[f"lr_x{scale}"], scale)
            pairs = {"latent": (prediction, batch["hr"])}
            if target is not None:
                with self.times("decode"):
                    pairs["pixel"] = window.trim(codec.decode(window.cut(prediction)), codec.downscale), target
            with self.times("losses"):
                for name, values in found.items():
                    values.append(PLAIN[name](*pairs[TERMS[name].space], config.loss_options, scale))
        return {name: sum(values) / len(values) for name, values in found.items()}  # type: ignore[misc]

    @torch.no_grad()
    def _follow(self) -> None:
        decay = self.config.optim.ema_decay
        for average, weight in zip(self.average.parameters(), self.model.parameters(), strict=True):
            average.mul_(decay).add_(weight, alpha=1 - decay)

    def flops(self) -> int:
        """Take one step and return its floating-point operations: products and convolutions, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            self.step()
        return counter.get_total_flops()
