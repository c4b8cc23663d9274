"""Fidelity between images, as the field reports it: 8-bit, per image, then averaged."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lua_lightning.evaluation.colour import ciede2000, lab

BLOCK = 8  # pixels a side that are averaged before colours are compared, so that detail does not count


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


def colour_shift(images: Tensor, targets: Tensor) -> Tensor:
    """Return the mean CIEDE2000 difference of the colours of each image, (N,), in units of Delta E.

    Both images are rounded to 8 bits and reduced first: the mean of every block of 8x8 pixels. 1 is just visible.

    Args:
        images: (N, 3, H, W) in [-1, 1], at least 8 pixels a side; what is left of the last block does not count.
        targets: Same shape and range.
    """
    # Image by image: sums over a batch are rounded otherwise than those over one image.
    return torch.stack([_colour_shift(*pair) for pair in zip(quantise(images), quantise(targets), strict=True)])


def _colour_shift(image: Tensor, target: Tensor) -> Tensor:
    # In float64, which some devices lack.
    ours, theirs = (lab(F.avg_pool2d(pixels.cpu().double(), BLOCK)[None]) for pixels in (image, target))
    return ciede2000(ours, theirs).mean().float().to(image.device)


PAIRED: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "psnr": psnr,
    "ssim": ssim,
    "colour_shift": colour_shift,
}
"""The functions of the metrics that compare an image with its photograph and need no network, by key: (N,) scores of
images and targets (N, 3, H, W) in [-1, 1]."""


Decibels = TypeVar("Decibels", float, np.ndarray)


def recovery(value: Decibels, bicubic: Decibels, ceiling: Decibels) -> Decibels:
    """Return the share of the way from latent bicubic (0) to the autoencoder's own round trip (1), in dB over dB."""
    return (value - bicubic) / (ceiling - bicubic)
