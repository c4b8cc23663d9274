"""The LightningModule: it wires adapter, codec, loss and optimiser, and holds no maths of its own."""

import math
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MeanMetric

from lua_lightning.adapter import LatentUpscaler, LinearSkip
from lua_lightning.codec import LatentCodec
from lua_lightning.config import OptimConfig, RunConfig
from lua_lightning.datamodule import PairDataModule
from lua_lightning.errors import UserError
from lua_lightning.evaluation import Reference, adapter_scores, reference, summarise
from lua_lightning.losses import weighted_loss
from lua_lightning.pairs import PairDataset

SKIP_PAIRS = 256  # whole crops that the linear map is fitted on


class AveragedAdapter(AveragedModel):
    """Exponential moving average of the adapter's weights.

    With warm-up the n-th update uses the decay min(decay, (1 + n) / (10 + n)), so that a short run is not averaged
    with its own beginning.
    """

    def __init__(self, adapter: LatentUpscaler, decay: float, warmup: bool):
        @torch.no_grad()
        def average(ours: Any, theirs: Any, updates: Tensor | int) -> None:
            now = min(decay, (1 + int(updates)) / (10 + int(updates))) if warmup else decay
            torch._foreach_lerp_(list(ours), list(theirs), 1 - now)

        super().__init__(adapter, multi_avg_fn=average)
        self.requires_grad_(False)


def learning_rate_factor(step: int, steps: int, config: OptimConfig) -> float:
    """Return the learning rate at `step` of `steps` over its peak, in [0, 1]."""
    if config.schedule == "multistep":
        return 0.5 ** sum(step >= milestone for milestone in config.milestones)
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class AdapterModule(L.LightningModule):
    """Train a `LatentUpscaler` on latent pairs; validate its averaged weights on decoded photographs.

    Args:
        config: The run.
        adapter: The network to train.
        codec: The frozen autoencoder of the latents; kept out of the checkpoint.

    Attributes:
        photo_names: File names by photo index, to say which images a bad batch held.
        shown_samples: Validation samples whose images are logged.
    """

    def __init__(self, config: RunConfig, adapter: LatentUpscaler, codec: LatentCodec):
        super().__init__()
        self.config, self.adapter = config, adapter
        self.ema = AveragedAdapter(adapter, config.optim.ema_decay, config.optim.ema_warmup)
        # Not registered as a submodule: the frozen autoencoder belongs neither in checkpoints nor in DDP's buckets.
        object.__setattr__(self, "codec", codec)
        self.codec: LatentCodec
        self.photo_names: list[str] = []
        self.shown_samples: set[int] = set()
        self._references: dict[tuple[int, int], Reference] = {}
        self._scores: dict[str, MeanMetric] = {}
        if config.train.compile:
            self.adapter.compile()

    @property
    def averaged(self) -> LatentUpscaler:
        """The adapter with averaged weights, which validation and export use."""
        return self.ema.module  # type: ignore[return-value]

    def setup(self, stage: str) -> None:
        self.codec.to(self.device)
        data: PairDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        self.photo_names = data.cache.photo_names
        count = min(self.config.validation.image_keys, len(data.val_pairs))
        self.shown_samples = {index * len(data.val_pairs) // count for index in range(count)}
        if stage == "fit" and self.adapter.config.skip == "linear" and not self.config.adapter.init_from:
            self._fit_skips(data)  # weights of a checkpoint replace it after this hook

    def _fit_skips(self, data: PairDataModule) -> None:
        """Start from the best linear map, so that training spends its steps on what is not linear."""
        pairs = PairDataset(data.cache, "train", data.val_pairs.side)
        items = [pairs[n] for n in range(min(SKIP_PAIRS, len(pairs)))]
        for scale in self.config.adapter.scales:
            latents, targets = (torch.stack([item[name] for item in items]) for name in (f"lr_x{scale}", "hr"))
            skip: LinearSkip = self.adapter.skips[f"x{scale}"]  # type: ignore[assignment]
            skip.fit(latents.to(self.device), targets.to(self.device))

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Return the loss of one batch: the mean over scales of the weighted sum of terms."""
        losses, parts = [], {}
        for scale in self.config.adapter.scales:
            prediction = self.adapter(batch[f"lr_x{scale}"], scale)
            loss, terms = weighted_loss(prediction, batch["hr"], self.config.loss)
            losses.append(loss)
            parts.update({f"train/loss/x{scale}/{name}": value for name, value in terms.items()})
        loss = torch.stack(losses).mean()
        if not torch.isfinite(loss):
            names = sorted({self.photo_names[int(index)] for index in batch["photo"]})
            raise UserError(
                f"the loss became {loss.item()} at step {self.global_step} on a batch from {', '.join(names)}: "
                "look at these photographs, or lower optim.learning_rate; the last checkpoint is intact"
            )
        self.log("train/loss", loss.detach(), prog_bar=True)
        for name in self.config.loss:
            own = [value for key, value in parts.items() if key.endswith(f"/{name}")]
            if own:
                self.log(f"train/loss/{name}", torch.stack(own).mean(), prog_bar=True)
        self.log_dict(parts)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.adapter)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [parameter.grad for parameter in self.adapter.parameters() if parameter.grad is not None]
        self.log("train/gradient_norm", nn.utils.get_total_norm(gradients))

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> Any:
        """Score the averaged adapter on whole crops; return, by scale and method, the images that are to be shown."""
        images = {}
        shown = self.shown_rows(batch)
        with torch.autocast(self.device.type, enabled=False):
            for scale in self.config.adapter.scales:
                # The rivals' scores never change, so they are computed at the first validation only.
                if (scale, batch_index) not in self._references:
                    self._references[scale, batch_index] = reference(self.codec, batch, scale).only(shown)
                known = self._references[scale, batch_index]
                output, scores = adapter_scores(self.averaged, self.codec, batch, scale)
                for name, values in {**known.scores, **scores}.items():
                    key = f"x{scale}/{name}"
                    if key not in self._scores:
                        self._scores[key] = MeanMetric().to(self.device)
                    self._scores[key].update(values)
                images[scale] = {**known.images, "adapter": output[shown], "hr": batch["image"][shown]}
        return images

    def shown_rows(self, batch: Mapping[str, Any]) -> list[int]:
        """Return the rows of a validation batch whose images are logged: `image_keys` of them, spread over the set."""
        return [row for row, sample in enumerate(batch["sample"].tolist()) if sample in self.shown_samples]

    def on_validation_epoch_end(self) -> None:
        for scale in self.config.adapter.scales:
            prefix = f"x{scale}/"
            own = {name: metric for name, metric in self._scores.items() if name.startswith(prefix)}
            means = {name.removeprefix(prefix): float(metric.compute()) for name, metric in own.items()}
            self.log_dict({f"val/{prefix}{name}": value for name, value in summarise(means).items()})
        for metric in self._scores.values():
            metric.reset()

    def configure_optimizers(self) -> Any:
        settings = self.config.optim
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[settings.name]
        skips = [value for name, value in self.adapter.named_parameters() if name.startswith("skips.")]
        others = [value for name, value in self.adapter.named_parameters() if not name.startswith("skips.")]
        groups: list[dict[str, Any]] = [{"params": others}]
        if skips:  # fitted already: at the full rate the noise of the first steps would spoil them
            groups.append({"params": skips, "lr": settings.learning_rate * settings.skip_rate})
        optimizer = kind(
            groups,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        steps = self.config.train.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps, settings)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
