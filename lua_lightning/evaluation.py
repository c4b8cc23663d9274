"""Measure an adapter on held-out photographs, beside the methods that need no training and the codec's ceiling."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lua_lightning.adapter import LatentUpscaler, enlarge
from lua_lightning.codec import LatentCodec
from lua_lightning.images import downscale, resize
from lua_lightning.losses import l1
from lua_lightning.metrics import psnr, recovery, ssim
from lua_lightning.pipeline import upscale_latents


@dataclass
class Reference:
    """What does not change during training: each rival's image of one batch and its scores, at one scale."""

    images: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)

    def only(self, rows: list[int]) -> "Reference":
        """Return all scores with the images of these rows alone."""
        return Reference({method: images[rows].clone() for method, images in self.images.items()}, self.scores)


@torch.no_grad()
def reference(codec: LatentCodec, batch: Mapping[str, Any], scale: int) -> Reference:
    """Return the rivals' images and scores for a validation batch.

    Latent bicubic, the autoencoder's round trip of the HR photograph (the ceiling) and the bicubic enlargement of the
    decoded LR latents start where the adapter starts. `photo_bicubic` enlarges the LR photograph itself, which no
    pipeline has: it stands beside them for orientation.

    Args:
        codec: The codec that made the latents.
        batch: `hr` (N, C, H, W), `lr_x<scale>` (N, C, H/scale, W/scale), `image` (N, 3, 8H, 8W) in [-1, 1].
        scale: 2 or 4.

    Returns:
        Images (N, 3, 8H, 8W) by method and scores (N,) by metric name.
    """
    image, latents = batch["image"], batch[f"lr_x{scale}"]
    enlarged = enlarge(latents.float(), scale)
    decoded = {
        "bicubic": codec.decode(enlarged),
        "pixel_bicubic": resize(codec.decode(latents).clamp(-1, 1), (image.shape[-2], image.shape[-1])),
        "ceiling": codec.decode(batch["hr"]),
        "photo_bicubic": resize(downscale(image, scale), (image.shape[-2], image.shape[-1])),
    }
    scores = {}
    for method, output in decoded.items():
        scores[f"psnr_{method}"], scores[f"ssim_{method}"] = psnr(output, image), ssim(output, image)
    scores["latent_l1_bicubic"] = per_image_l1(enlarged, batch["hr"])
    return Reference(decoded, scores)


@torch.no_grad()
def adapter_scores(
    adapter: LatentUpscaler, codec: LatentCodec, batch: Mapping[str, Any], scale: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the adapter's images (N, 3, 8H, 8W) of a validation batch and its scores (N,) by metric name."""
    latents = upscale_latents(adapter, codec, batch[f"lr_x{scale}"], scale).float()
    output = codec.decode(latents)
    image = batch["image"]
    scores = {
        "latent_l1": per_image_l1(latents, batch["hr"]),
        "psnr": psnr(output, image),
        "ssim": ssim(output, image),
    }
    return output, scores


def per_image_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of each item, (N,)."""
    return torch.stack([l1(ours, theirs) for ours, theirs in zip(prediction, target, strict=True)])


def summarise(means: Mapping[str, float]) -> dict[str, float]:
    """Return mean scores of one scale with `recovery` added, taken from the mean PSNRs."""
    return {**means, "recovery": recovery(means["psnr"], means["psnr_bicubic"], means["psnr_ceiling"])}


def evaluate(
    adapter: LatentUpscaler, codec: LatentCodec, batches: Iterable[Mapping[str, Any]], scales: Iterable[int]
) -> dict[str, float]:
    """Return `x<scale>/<metric>` means over all images of `batches`, as training logs them under `val/`."""
    collected: dict[str, list[Tensor]] = {}
    scales = list(scales)
    for batch in batches:
        for scale in scales:
            scores = reference(codec, batch, scale).scores | adapter_scores(adapter, codec, batch, scale)[1]
            for name, values in scores.items():
                collected.setdefault(f"x{scale}/{name}", []).append(values)
    means = {name: float(torch.cat(values).mean()) for name, values in collected.items()}
    result = {}
    for scale in scales:
        prefix = f"x{scale}/"
        own = {name.removeprefix(prefix): value for name, value in means.items() if name.startswith(prefix)}
        result.update({prefix + name: value for name, value in summarise(own).items()})
    return result
