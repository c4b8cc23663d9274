"""Measure an adapter on held-out photographs, beside the methods that need no training and the codec's ceiling."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lua_lightning.evaluation.fidelity import PAIRED
from lua_lightning.evaluation.intervals import CropScores, summarise
from lua_lightning.evaluation.perceptual import Perceptual
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, PHOTO_BICUBIC, PIXEL_BICUBIC, ROWS
from lua_lightning.images import downscale, resize
from lua_lightning.models.adapter import LatentUpscaler
from lua_lightning.models.codec import LatentCodec
from lua_lightning.models.network import enlarge
from lua_lightning.pipeline import out_of_range, upscale_latents


@dataclass
class Reference:
    """What does not change during training: each rival's image of one batch and its scores, at one scale."""

    images: dict[str, Tensor] = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)

    def only(self, rows: list[int]) -> "Reference":
        """Return all scores with the images of these rows alone."""
        return Reference({method: images[rows].clone() for method, images in self.images.items()}, self.scores)


@torch.no_grad()
def reference(
    codec: LatentCodec, batch: Mapping[str, Any], scale: int, perceptual: Iterable[Perceptual] = ()
) -> Reference:
    """Return the rivals' images and scores for a validation batch.

    The bicubic enlargements of the latents and of their decoded image start where the adapter starts. The ceiling and
    `photo-bicubic`, which have seen the photograph, stand beside them for orientation.

    Args:
        codec: The codec that made the latents.
        batch: `hr` (N, C, H, W), `lr_x<scale>` (N, C, H/scale, W/scale), `image` (N, 3, 8H, 8W) in [-1, 1].
        scale: 2 or 4.
        perceptual: Distances to measure beside PSNR and SSIM.

    Returns:
        Images (N, 3, 8H, 8W) by row and scores (N,) by metric name.
    """
    image, latents = batch["image"], batch[f"lr_x{scale}"]
    enlarged = enlarge(latents.float(), scale)
    decoded = {
        LATENT_BICUBIC: codec.decode(enlarged),
        PIXEL_BICUBIC: resize(codec.decode(latents).clamp(-1, 1), (image.shape[-2], image.shape[-1])),
        CEILING: codec.decode(batch["hr"]),
        PHOTO_BICUBIC: resize(downscale(image, scale), (image.shape[-2], image.shape[-1])),
    }
    scores = {
        f"{name}{ROWS[method].suffix}": values
        for method, output in decoded.items()
        for name, values in image_scores(output, image, perceptual).items()
    }
    scores[f"latent_l1{ROWS[LATENT_BICUBIC].suffix}"] = per_image_l1(enlarged, batch["hr"])
    return Reference(decoded, scores)


@torch.no_grad()
def adapter_scores(
    adapter: LatentUpscaler,
    codec: LatentCodec,
    batch: Mapping[str, Any],
    scale: int,
    perceptual: Iterable[Perceptual] = (),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the adapter's images (N, 3, 8H, 8W) of a validation batch and its scores (N,) by metric name."""
    latents = upscale_latents(adapter, codec, batch[f"lr_x{scale}"], scale).float()
    output = codec.decode(latents)
    scores = {"latent_l1": per_image_l1(latents, batch["hr"]), **image_scores(output, batch["image"], perceptual)}
    if adapter.config.latent_range is not None:
        scores["out_of_range"] = out_of_range(adapter, codec, latents)
    return output, scores


def image_scores(images: Tensor, targets: Tensor, perceptual: Iterable[Perceptual]) -> dict[str, Tensor]:
    """Return every paired metric and each perceptual distance of images (N, 3, H, W) in [-1, 1], (N,) by name."""
    scores = {name: measure(images, targets) for name, measure in PAIRED.items()}
    return scores | {distance.name: distance(images.clamp(-1, 1), targets) for distance in perceptual}


def per_image_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of each item, (N,)."""
    differences = (ours.float() - theirs.float() for ours, theirs in zip(prediction, target, strict=True))
    return torch.stack([difference.abs().mean() for difference in differences])


def by_crop(batch: Mapping[str, Any], scores: Mapping[int, Mapping[str, Tensor]]) -> list[CropScores]:
    """Return the scores of one batch crop by crop, from (N,) tensors by scale and metric name."""
    return [
        CropScores(
            int(sample),
            int(photo),
            {
                f"x{scale}/{name}": float(values[row])
                for scale, metrics in scores.items()
                for name, values in metrics.items()
            },
        )
        for row, (sample, photo) in enumerate(zip(batch["sample"], batch["photo"], strict=True))
    ]


def evaluate_crops(
    adapter: LatentUpscaler,
    codec: LatentCodec,
    batches: Iterable[Mapping[str, Any]],
    scales: Iterable[int],
    perceptual: Iterable[Perceptual] = (),
) -> list[CropScores]:
    """Return the scores of every crop in `batches`, under `x<scale>/<metric>`."""
    crops, scales, perceptual = [], list(scales), list(perceptual)
    for batch in batches:
        crops += by_crop(
            batch,
            {
                scale: reference(codec, batch, scale, perceptual).scores
                | adapter_scores(adapter, codec, batch, scale, perceptual)[1]
                for scale in scales
            },
        )
    return crops


def evaluate(
    adapter: LatentUpscaler, codec: LatentCodec, batches: Iterable[Mapping[str, Any]], scales: Iterable[int]
) -> dict[str, float]:
    """Return `x<scale>/<metric>` means over all images of `batches`, as training logs them under `val/`."""
    return summarise(evaluate_crops(adapter, codec, batches, scales))
