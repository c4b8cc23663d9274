"""What a training step supervises: which heads, and which window of the images that the frozen decoder makes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lua_lightning.config import OptimConfig, RunConfig, TrainConfig
from lua_lightning.models.codec import LatentCodec

# Windows begin at multiples of it: codecs may treat the positions of a 2x2 cell differently (FLUX.2).
WINDOW_STEP = 2


def draw(seed: int, step: int, choices: int, stream: int) -> int:
    """Return a number below `choices`, a pure function of the rest: equal on every process, and after a resume."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + step) * 16 + stream)
    return int(torch.randint(choices, (), generator=generator))


def supervised_scales(config: RunConfig, step: int) -> tuple[int, ...]:
    """Return the scales whose heads learn at `step`: all at first, then one by lot with equal odds, as published."""
    scales = config.adapter.scales
    if step < config.train.joint_fraction * config.train.steps:
        return scales
    return (scales[draw(config.seed, step, len(scales), stream=0)],)


@dataclass(frozen=True)
class Window:
    """A square of a latent patch that is decoded, with a margin that is cut off the decoded image."""

    top: int
    left: int
    side: int  # with both margins
    margin: int

    def cut(self, values: Tensor, factor: int = 1) -> Tensor:
        """Return the square with its margin from (..., H * factor, W * factor)."""
        rows, columns = (slice(start * factor, (start + self.side) * factor) for start in (self.top, self.left))
        return values[..., rows, columns]

    def trim(self, images: Tensor, factor: int) -> Tensor:
        """Return images (..., side * factor, side * factor) without the margin."""
        edge = self.margin * factor
        return images[..., edge : images.shape[-2] - edge, edge : images.shape[-1] - edge]


def decoded_window(settings: TrainConfig, seed: int, step: int) -> Window:
    """Return the window that pixel terms see at `step`, the same for every pair, head and process."""
    if not settings.decode_latents:
        return Window(0, 0, settings.crop_latents, 0)
    side = settings.decode_latents + 2 * settings.decode_margin
    places = (settings.crop_latents - side) // WINDOW_STEP + 1
    top, left = (draw(seed, step, places, stream) * WINDOW_STEP for stream in (1, 2))
    return Window(top, left, side, settings.decode_margin)


def decode_pairs(
    codec: LatentCodec, predictions: Sequence[Tensor], batch: Mapping[str, Any], window: Window, config: RunConfig
) -> list[tuple[Tensor, Tensor]]:
    """Return the decoded windows of each prediction and of the target, (N, 3, h, h), around [-1, 1].

    Gradients flow through the frozen decoder to the predictions. The target is the decoded HR latents, as published, or
    with `loss_options.pixel_target=photo` the photograph.

    Args:
        codec: Its weights do not train.
        predictions: HR latents (N, C, H, W) of each head.
        batch: `hr` (N, C, H, W) and, for `photo`, `image` (N, 3, 8H, 8W).
        window: What of the patch is decoded.
        config: The run.
    """
    latents = torch.cat([window.cut(prediction) for prediction in predictions])
    if config.train.checkpoint_decoder:
        # One checkpoint for each part: around the whole it would save nothing, as its backward pass holds everything.
        parts = latents.split(config.train.decode_chunk)
        images = torch.cat([checkpoint(codec.decode, part, use_reentrant=False) for part in parts])  # pyright: ignore
    else:
        images = codec.decode(latents)
    if config.loss_options.pixel_target == "photo":
        target = window.cut(batch["image"], codec.downscale)
    else:
        with torch.no_grad():
            target = codec.decode(window.cut(batch["hr"]), check_finite=False)  # the loss will tell
    target = window.trim(target, codec.downscale)
    return [(window.trim(part, codec.downscale), target) for part in images.chunk(len(predictions))]


def learning_rate_factor(step: int, steps: int, config: OptimConfig) -> float:
    """Return the learning rate at `step` of `steps` over its peak, in [0, 1]."""
    if config.schedule == "multistep":
        return 0.5 ** sum(step >= milestone for milestone in config.milestones)
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
