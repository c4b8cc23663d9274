"""Fidelity between images, as the field reports it: 8-bit, per image, then averaged."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure


def quantise(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as the values a saved 8-bit file would hold, in [0, 1]; same shape."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round() / 255


def psnr(images: Tensor, targets: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB.

    Args:
        images: (N, 3, H, W) in [-1, 1]; values outside are clamped and rounded to 8 bits, as a saved file is.
        targets: Same shape and range.

    Returns:
        (N,), 10 log10(1 / MSE) over all pixels and channels; an exact match gives 10 log10(255^2 * 3HW), not infinity.
    """
    error = (quantise(images) - quantise(targets)).square().flatten(1)
    floor = 1 / (255**2 * error.shape[1])  # one value of one pixel off by one level
    return -10 * error.mean(1).clamp(min=floor).log10()


def mean_psnr(images: Tensor, targets: Tensor) -> float:
    """Return the mean over images of `psnr`, in dB."""
    return float(psnr(images, targets).mean())


def ssim(images: Tensor, targets: Tensor) -> Tensor:
    """Return the structural similarity of each image, (N,), through torchmetrics (Gaussian 11, sigma 1.5, 8-bit)."""
    return torch.stack(
        [
            structural_similarity_index_measure(image[None], target[None], data_range=1.0)  # type: ignore[arg-type]
            for image, target in zip(quantise(images), quantise(targets), strict=True)
        ]
    )


PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr,
    "ssim": ssim,
}
"""The functions of the metrics that compare an image with its photograph and need no network, by key: (N,) scores of
images and targets (N, 3, H, W) in [-1, 1]."""


Decibels = TypeVar("Decibels", float, np.ndarray)


def recovery(value: Decibels, bicubic: Decibels, ceiling: Decibels) -> Decibels:
    """Return the share of the way from latent bicubic (0) to the autoencoder's own round trip (1), in dB over dB."""
    return (value - bicubic) / (ceiling - bicubic)
