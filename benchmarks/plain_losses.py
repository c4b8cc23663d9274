"""The loss terms as their formulas stand in the papers, for the plain loop of `benchmarks.train_speed`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lua_lightning.config import LossOptions
from lua_lightning.images import downscale
from lua_lightning.training.losses import LUMINANCE, SCHARR, eagle_filter


def magnitudes(images: Tensor, norm: str) -> Tensor:
    """Return the magnitudes of the Fourier transform of each channel."""
    return torch.fft.fft2(images.float(), norm=norm).abs()


def l1(ours: Tensor, theirs: Tensor, options: LossOptions, scale: int) -> Tensor:
    """Return the mean absolute difference."""
    return F.l1_loss(ours, theirs)


def fourier(ours: Tensor, theirs: Tensor, options: LossOptions, scale: int) -> Tensor:
    """Return the difference of the magnitudes of the Fourier transforms."""
    difference = (magnitudes(ours, options.fft_norm) - magnitudes(theirs, options.fft_norm)).abs()
    return difference.mean() if options.fft_reduction == "mean" else difference.sum() / len(difference)


def downsample(ours: Tensor, theirs: Tensor, options: LossOptions, scale: int) -> Tensor:
    """Return the difference of the reduced images."""
    factor = options.downsample_factor or scale
    return F.l1_loss(downscale(ours.float(), factor), downscale(theirs.float(), factor))


def blurred(images: Tensor, options: LossOptions) -> Tensor:
    """Return the images blurred by a Gaussian, by one convolution of each channel."""
    size, channels = options.high_frequency_kernel, images.shape[1]
    line = torch.arange(size, device=images.device) - size // 2
    line = torch.exp(-line.square() / (2 * options.high_frequency_sigma**2))
    kernel = torch.outer(line, line) / line.sum() ** 2
    padded = F.pad(images, (size // 2,) * 4, mode="reflect")
    return F.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def high_frequency(ours: Tensor, theirs: Tensor, options: LossOptions, scale: int) -> Tensor:
    """Return the difference of what a blur takes away."""
    return F.l1_loss(ours - blurred(ours, options), theirs - blurred(theirs, options))


def variances(images: Tensor) -> Tensor:
    """Return the variances of the gradients of luminance in patches of 3x3."""
    weights = torch.tensor(LUMINANCE, device=images.device).view(1, 3, 1, 1)
    along_x = torch.tensor(SCHARR, device=images.device)
    gradients = F.conv2d((images * weights).sum(1, keepdim=True), torch.stack([along_x, along_x.T])[:, None], padding=1)
    patches = gradients.unfold(2, 3, 3).unfold(3, 3, 3)
    return patches.flatten(4).var(4)


def eagle(ours: Tensor, theirs: Tensor, options: LossOptions, scale: int) -> Tensor:
    """Return the edge-aware loss of gradients (EAGLE)."""
    found = [magnitudes(variances(images.float()), options.eagle_norm) for images in (ours, theirs)]
    height, width = found[0].shape[-2:]
    weights = eagle_filter(height, width, options.eagle_cutoff, options.eagle_high_pass, ours.device)
    difference = (found[0] - found[1]).abs() * weights
    whole = difference.sum() / len(difference)
    return whole if options.eagle_reduction == "sum" else whole / (height * width)


PLAIN: dict[str, Callable[[Tensor, Tensor, LossOptions, int], Tensor]] = {
    "latent_l1": l1,
    "latent_fft": fourier,
    "pixel_l1": l1,
    "pixel_fft": fourier,
    "pixel_downsample": downsample,
    "pixel_high_frequency": high_frequency,
    "pixel_eagle": eagle,
}
