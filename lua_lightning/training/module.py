"""The LightningModule: it wires adapter, codec, loss and optimiser, and holds no maths of its own."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import lightning.pytorch as L
import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lua_lightning.config import RunConfig
from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CropScores, summarise
from lua_lightning.evaluation.perceptual import available
from lua_lightning.evaluation.rows import LUA
from lua_lightning.evaluation.scoring import Reference, adapter_scores, by_crop, reference
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.network import LinearSkip
from lua_lightning.models.skip import fit_linear_skip
from lua_lightning.pairs.datamodule import PairDataModule
from lua_lightning.pairs.dataset import PairDataset
from lua_lightning.pipeline import in_adapter_space, out_of_range, range_in_adapter_space
from lua_lightning.training.averaging import AveragedAdapter
from lua_lightning.training.curriculum import decode_pairs, decoded_window, learning_rate_factor, supervised_scales
from lua_lightning.training.losses import active, compute_terms
from lua_lightning.training.telemetry import PATIENCE, StepMonitor, Throughput

T = TypeVar("T")
SKIP_PAIRS = 256  # whole crops that the linear map is fitted on


def gathered(items: list[T]) -> list[T]:
    """Return the items of all processes, those of process 0 first."""
    parts = [items]
    if dist.is_available() and dist.is_initialized():
        parts = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def step_terms(
    adapter: LatentUpscaler,
    codec: LatentCodec,
    config: RunConfig,
    batch: Mapping[str, Any],
    step: int,
    more: Any = None,
) -> tuple[dict[int, Tensor], dict[int, dict[str, Tensor]], dict[str, Tensor]]:
    """Return what one training step supervises.

    Args:
        adapter: The network.
        codec: The frozen autoencoder.
        config: The run.
        batch: Training pairs: `hr` (N, C, H, W) and `lr_x<scale>` (N, C, H/scale, W/scale).
        step: Which decides the heads and the decoded window.
        more: Returns further terms by name of decoded images and their targets, an adversary's.

    Returns:
        HR latents by supervised scale; the terms by scale and name, before their weights; and the weighted terms by
        name, averaged over the scales.
    """
    predictions = {
        scale: in_adapter_space(adapter, codec, batch[f"lr_x{scale}"], scale)
        for scale in supervised_scales(config, step)
    }
    pixels: list[tuple[Tensor, Tensor]] = []
    if active(config.loss, "pixel"):
        window = decoded_window(config.train, config.seed, step)
        pixels = decode_pairs(codec, list(predictions.values()), batch, window, config)
    terms = {}
    for position, (scale, prediction) in enumerate(predictions.items()):
        pairs = {"latent": (prediction, batch["hr"])}
        if pixels:
            pairs["pixel"] = pixels[position]
        terms[scale] = compute_terms(pairs, config.loss, config.loss_options, scale)
        terms[scale] |= more(*pixels[position]) if more else {}
    weighted = {
        name: config.weights[name] * torch.stack([scale_terms[name] for scale_terms in terms.values()]).mean()
        for name in next(iter(terms.values()))
    }
    return predictions, terms, weighted


class AdapterModule(L.LightningModule):
    """Train a `LatentUpscaler` on latent pairs; validate its averaged weights on decoded photographs.

    Args:
        config: The run.
        adapter: The network to train.
        codec: The frozen autoencoder of the latents; kept out of the checkpoint.

    Attributes:
        photo_names: File names by photo index, to say which images a bad batch held.
        shown_samples: Validation samples whose images are logged.
        crop_scores: The last validation, crop by crop, of all processes.
        scored_step: When that was.
        throughput: Images per second, and the share of time that went by waiting for data.
        shown: The last reported numbers, for the progress bar.
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
        self._crops: list[CropScores] = []
        self.crop_scores: list[CropScores] = []
        self.scored_step: int | None = None
        self.throughput, self.monitor = Throughput(), StepMonitor()
        self.shown: dict[str, float] = {}
        self._told = 0.0  # of the skipped steps
        if config.train.compile:
            self.adapter.compile()

    more_terms: Any = None  # of a subclass, for `step_terms`

    @property
    def averaged(self) -> LatentUpscaler:
        """The adapter with averaged weights, which validation and export use."""
        return self.ema.module  # type: ignore[return-value]

    def setup(self, stage: str) -> None:
        self.codec.to(self.device)
        data: PairDataModule = self.trainer.datamodule  # type: ignore[attr-defined]
        self.photo_names = data.cache.photo_names
        on_rank_zero = range(0, len(data.val_pairs), self.trainer.world_size)  # which alone logs images
        count = min(self.config.validation.image_keys, len(on_rank_zero))
        self.shown_samples = {on_rank_zero[index * len(on_rank_zero) // count] for index in range(count)}
        if stage == "fit":
            statistics = data.cache.manifest["statistics"]
            for adapter in (self.adapter, self.averaged):
                low, high = range_in_adapter_space(adapter, self.codec, statistics["min"], statistics["max"])
                adapter.set_latent_range(low, high)
            started = self.config.adapter.init_from and not self.config.adapter.transfer
            if self.adapter.config.skip == "linear" and not started:
                self._fit_skips(data)  # weights of a checkpoint replace it after this hook

    def _fit_skips(self, data: PairDataModule) -> None:
        """Start from the best linear map, so that training spends its steps on what is not linear."""
        pairs = PairDataset(data.cache, "train", data.val_pairs.side)
        items = [pairs[n] for n in range(min(SKIP_PAIRS, len(pairs)))]
        for scale in self.config.adapter.scales:
            latents, targets = (torch.stack([item[name] for item in items]) for name in (f"lr_x{scale}", "hr"))
            skip: LinearSkip = self.adapter.skips[f"x{scale}"]  # type: ignore[assignment]
            fit_linear_skip(skip, latents.to(self.device), targets.to(self.device))

    def training_step(self, batch: Mapping[str, Any], batch_index: int) -> Tensor:
        """Return the loss of one batch: the mean over the supervised scales of the weighted sum of terms."""
        config, step = self.config, self.global_step
        predictions, terms, weighted = step_terms(self.adapter, self.codec, config, batch, step, self.more_terms)
        loss = torch.stack(list(weighted.values())).sum()
        shown = (step + 1) % config.train.log_every == 0
        values = self._values(loss, terms, weighted, predictions) if shown else None
        self.monitor.see(loss, batch["photo"], values)
        if config.train.gradient_norms_every and step % config.train.gradient_norms_every == 0:
            self._log_gradient_norms(weighted)
        # A loss that is not finite may have finite gradients. Times NaN, they make all processes skip the step.
        loss = loss * (loss.detach() * 0 + 1)
        if self.trainer.world_size > 1:  # DDP waits for a gradient of every weight, also of a head that is not drawn
            loss = loss + 0.0 * sum(weight.sum() for weight in self._idle_weights(list(predictions)))
        return loss

    def _values(
        self,
        loss: Tensor,
        terms: Mapping[int, Mapping[str, Tensor]],
        weighted: Mapping[str, Tensor],
        predictions: Mapping[int, Tensor],
    ) -> dict[str, Tensor]:
        """Return what a step shows, as scalars on the device: the loss, its terms, latents beyond the range."""
        beyond = [out_of_range(self.adapter, self.codec, latents.detach()).mean() for latents in predictions.values()]
        values = {"train/loss": loss, "train/out_of_range": torch.stack(beyond).mean()}
        for name, value in weighted.items():
            values[f"train/loss/{name}"] = value / self.config.weights[name]
            values[f"train/weighted/{name}"] = value
        for scale, by_name in terms.items():
            values.update({f"train/loss/x{scale}/{name}": value for name, value in by_name.items()})
        return values

    def on_train_start(self) -> None:
        self.throughput.ask()

    def on_train_batch_start(self, batch: Mapping[str, Any], batch_idx: int) -> None:
        self.throughput.fetch()

    def on_train_batch_end(self, outputs: Any, batch: Mapping[str, Any], batch_idx: int) -> None:
        self.throughput.finish(len(batch["photo"]) * self.trainer.world_size)

    def _report(self, step: int) -> None:
        shown = self.monitor.report(lambda values: self.trainer.strategy.reduce(values, reduce_op="mean"))  # pyright: ignore
        speed = {"images_per_second": self.throughput.images_per_second, "data_wait": self.throughput.data_wait}
        shown = {name if "/" in name else f"train/{name}": value for name, value in {**shown, **speed}.items()}
        self._record({name: value for name, value in shown.items() if math.isfinite(value)}, step)
        bar = ("train/loss", *(f"train/loss/{name}" for name in self.config.loss), *(f"train/{name}" for name in speed))
        self.shown = {name: shown[name] for name in bar if name in shown}
        if shown["train/skipped_steps"] > self._told:
            self._told = shown["train/skipped_steps"]
            self._tell_skipped(step)
        self.monitor.forget()

    def _tell_skipped(self, step: int) -> None:
        """Say which photographs the skipped steps held; stop when no step succeeds any more, on all processes."""
        batches = gathered(self.monitor.broken_batches())
        blamed = [batch for batch in batches if not math.isfinite(batch[0])] or batches
        names = ", ".join(sorted({self.photo_names[photo] for _, photos in blamed for photo in photos}))
        what = f"the loss became {blamed[0][0]}" if blamed is not batches else "the gradients were not finite"
        if self.monitor.in_a_row >= PATIENCE:
            raise UserError(
                f"{what} in each of the last {self.monitor.in_a_row:.0f} steps up to step {step}, on batches from "
                f"{names}: look at these photographs, or lower optim.learning_rate; the weights are those before these "
                "steps, and the last checkpoint is intact"
            )
        rank_zero_warn(
            f"{what} by step {step} on a batch from {names}: such a step is skipped", category=RuntimeWarning
        )

    def _record(self, values: Mapping[str, float], step: int) -> None:
        if self.logger is not None:
            self.logger.log_metrics(dict(values), step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["skipped_steps"] = self.monitor.skipped.cpu()
        checkpoint["throughput"] = self.throughput.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from a checkpoint, also from one of a version whose optimiser was not fused."""
        self.monitor.skipped = checkpoint.get("skipped_steps", torch.zeros(2))
        self._told = float(self.monitor.skipped[0])
        self.throughput.load_state_dict(checkpoint.get("throughput") or checkpoint["callbacks"]["Throughput"])
        for optimizer in checkpoint["optimizer_states"]:
            for group in optimizer["param_groups"]:
                group.update(fused=True, foreach=None)

    def _log_gradient_norms(self, weighted: Mapping[str, Tensor]) -> None:
        """Log the norm of each weighted term's own gradient on the adapter's weights."""
        weights = [weight for weight in self.adapter.parameters() if weight.requires_grad]
        norms = {}
        for name, value in weighted.items():
            gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            reached = [gradient for gradient in gradients if gradient is not None]
            norms[f"train/gradient_norm/{name}"] = float(nn.utils.get_total_norm(reached))
        self._record(norms, self.global_step)

    def _idle_weights(self, scales: Sequence[int]) -> list[nn.Parameter]:
        """Return the weights that only the other scales use, also those that the adapter has and the run does not."""
        idle = tuple(f"{part}.x{scale}." for scale in self.adapter.config.scales for part in ("heads", "skips"))
        busy = tuple(f"{part}.x{scale}." for scale in scales for part in ("heads", "skips"))
        return [
            weight
            for name, weight in self.adapter.named_parameters()
            if name.startswith(idle) and not name.startswith(busy)
        ]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, follow with the average and report every `log_every` steps: one reduction, one copy to the host."""
        step = self.global_step
        super().optimizer_step(*args, **kwargs)
        self.ema.update_parameters(self.adapter)
        if (step + 1) % self.config.train.log_every == 0:
            self._report(step)
        self.throughput.stepped()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for weight in self._idle_weights(supervised_scales(self.config, self.global_step)):
            weight.grad = None  # a head that was not drawn rests: neither momentum nor decay moves it

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradients' norm, and have the fused optimiser skip a step whose gradients are not finite."""
        moved = [parameter for parameter in self.adapter.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in moved])  # type: ignore[misc]
        nn.utils.clip_grads_with_norm_(moved, self.config.optim.gradient_clip, norm)
        optimizer.found_inf = self.monitor.step(norm)  # type: ignore[attr-defined]  # as gradient scalers tell it

    def validation_step(self, batch: Mapping[str, Any], batch_index: int) -> Any:
        """Score the averaged adapter on whole crops; return, by scale and method, the images that are to be shown."""
        images, scores = {}, {}
        shown = self.shown_rows(batch)
        # Perceptual distances take longer than all else here, so only the closing validation measures them.
        closing = self.trainer.global_step >= self.config.train.steps
        perceptual = [distance.to(self.device) for distance in available()] if closing else []
        with torch.autocast(self.device.type, enabled=False):
            for scale in self.config.adapter.scales:
                # The rivals' scores never change, so they are computed at the first validation only.
                if (scale, batch_index) not in self._references:
                    self._references[scale, batch_index] = reference(self.codec, batch, scale).only(shown)
                known = self._references[scale, batch_index]
                output, lua_scores = adapter_scores(self.averaged, self.codec, batch, scale, perceptual)
                scores[scale] = {**known.scores, **lua_scores}
                images[scale] = {**known.images, LUA: output[shown], "hr": batch["image"][shown]}
        self._crops += by_crop(batch, scores)
        return images

    def shown_rows(self, batch: Mapping[str, Any]) -> list[int]:
        """Return the rows of a validation batch whose images are logged: `image_keys` of them, spread over the set."""
        return [row for row, sample in enumerate(batch["sample"].tolist()) if sample in self.shown_samples]

    def on_validation_epoch_start(self) -> None:
        self._crops = []

    def on_validation_end(self) -> None:
        self.throughput.ask()  # validation is not training time

    def on_validation_epoch_end(self) -> None:
        """Log the means over the crops of all processes, each crop once and in the same order."""
        self.scored_step = self.trainer.global_step
        once = {crop.sample: crop for crop in gathered(self._crops)}  # some crops were dealt to two processes
        self.crop_scores = [once[sample] for sample in sorted(once)]
        self.log_dict({f"val/{name}": value for name, value in summarise(self.crop_scores).items()})

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
            fused=True,
        )
        steps = self.config.train.steps
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps, settings)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
