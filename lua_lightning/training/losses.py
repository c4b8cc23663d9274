"""The loss terms as pure functions of prediction and target, and the one table that names them."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lua_lightning.config import LossOptions
from lua_lightning.errors import UserError, unknown_name
from lua_lightning.evaluation.perceptual import effnet_distance
from lua_lightning.evaluation.registry import NETWORKS
from lua_lightning.images import downscale

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Scharr's derivative along rows, as the authors of EAGLE use it; its transpose is the one along columns.
SCHARR = ((-3.0, 0.0, 3.0), (-10.0, 0.0, 10.0), (-3.0, 0.0, 3.0))
EAGLE_PATCH = 3


def l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference, a scalar; any equal shapes."""
    return (prediction.float() - target.float()).abs().mean()


def fft_magnitude(prediction: Tensor, target: Tensor, norm: str = "ortho", reduction: str = "mean") -> Tensor:
    """Return the absolute difference between the magnitudes of the channel-wise 2-D Fourier transforms, a scalar.

    The paper gives neither normalisation nor reduction (arXiv 2511.10629, eq. for L_FFT). By default the transform is
    orthonormal and the reduction a mean, so that the term's weight does not depend on the crop's size. Computed in
    float32 whatever the autocast state.

    Args:
        prediction: (N, C, H, W).
        target: Same shape.
        norm: Of `torch.fft.fft2`: "ortho", "backward" (none) or "forward" (1 / HW).
        reduction: "mean" over all elements, or "sum" over frequencies and channels with the mean over items.
    """
    return _spectral(prediction, target, norm, reduction)


def downsample_l1(prediction: Tensor, target: Tensor, factor: int) -> Tensor:
    """Return the L1 distance of both images reduced `factor` times, a scalar (arXiv 2511.10629, eq. for L_DS).

    Reduced by the antialiased bicubic filter that makes the LR inputs.

    Args:
        prediction: (N, C, H, W), sides multiples of `factor`.
        target: Same shape.
        factor: The upscaling factor in the paper's text, 2 in its appendix.
    """
    ours, theirs = (downscale(images.float(), factor) for images in (prediction, target))
    return l1(ours, theirs)


def high_frequency(prediction: Tensor, target: Tensor, kernel_size: int = 5, sigma: float = 1.0) -> Tensor:
    """Return the L1 distance of the residuals x - G(x), a scalar (arXiv 2511.10629, eq. for L_HF).

    Args:
        prediction: (N, C, H, W), sides larger than half the kernel.
        target: Same shape.
        kernel_size: Side of the Gaussian kernel G in pixels, odd; borders are extended by reflection.
        sigma: Its standard deviation in pixels.
    """
    # The residual is linear, so the difference of residuals is the residual of the difference.
    difference = prediction.float() - target.float()
    return (difference - gaussian_blur(difference, kernel_size, sigma)).abs().mean()


def gaussian_blur(images: Tensor, kernel_size: int, sigma: float) -> Tensor:
    """Return (N, C, H, W) blurred channel by channel by a Gaussian cut to `kernel_size` pixels; same shape."""
    with torch.autocast(images.device.type, enabled=False):
        position = torch.arange(kernel_size, device=images.device, dtype=torch.float32) - (kernel_size - 1) / 2
        line = torch.exp(-0.5 * (position / sigma).square())
        line = line / line.sum()
        channels, half = images.shape[1], kernel_size // 2
        padded = F.pad(images.float(), (half,) * 4, mode="reflect")
        rows = F.conv2d(padded, line.view(1, 1, 1, -1).expand(channels, -1, -1, -1), groups=channels)
        return F.conv2d(rows, line.view(1, 1, -1, 1).expand(channels, -1, -1, -1), groups=channels)


def eagle(
    prediction: Tensor,
    target: Tensor,
    cutoff: float = 0.5,
    high_pass: str = "lua",
    norm: str = "ortho",
    reduction: str = "sum",
) -> Tensor:
    """Return the edge-aware gradient localisation loss (EAGLE, arXiv 2403.10695, as arXiv 2511.10629 uses it).

    Luminance, its Scharr gradients along x and y (zero padding), the unbiased variance of each over non-overlapping 3x3
    patches, the magnitude of the variance map's FFT times a high-pass, and the absolute difference of both images, x
    and y added. Computed in float32 whatever the autocast state.

    The paper gives no normalisation. With an orthonormal transform and a sum, the published weight 5e-5 makes this term
    about as large as 10 times the pixel L1 at 512 px; with the unnormalised transform it would be 170 times that.

    Args:
        prediction: RGB (N, 3, H, W), sides of at least 3; rows and columns beyond a multiple of 3 are left out.
        target: Same shape.
        cutoff: f_c in cycles per sample of the variance map; its Nyquist frequency is 0.5.
        high_pass: See `eagle_filter`.
        norm: Of `torch.fft.fft2`, as in `fft_magnitude`.
        reduction: "sum" over frequencies and the mean over items, as published (it grows with the image), or "mean"
            over both.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        ours, theirs = (gradient_variances(images.float()) for images in (prediction, target))
        weights = eagle_filter(ours.shape[-2], ours.shape[-1], cutoff, high_pass, ours.device)
        # Two maps, x and y, stand where channels do: a sum over them either way.
        return _spectral(ours, theirs, norm, reduction, weights) * (2 if reduction == "mean" else 1)


def gradient_variances(images: Tensor) -> Tensor:
    """Return the variance of x and y gradients of luminance in each 3x3 patch, (N, 2, H // 3, W // 3)."""
    luminance = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
    along_x = images.new_tensor(SCHARR)
    kernels = torch.stack([along_x, along_x.T])[:, None]
    gradients = F.conv2d(luminance, kernels, padding=1)
    height, width = (size // EAGLE_PATCH * EAGLE_PATCH for size in gradients.shape[-2:])
    return F.pixel_unshuffle(gradients[..., :height, :width], EAGLE_PATCH).unflatten(1, (2, -1)).var(2)


def eagle_filter(height: int, width: int, cutoff: float, high_pass: str, device: torch.device) -> Tensor:
    """Return the high-pass (height, width) over the frequencies of an unshifted FFT.

    With f the distance from frequency zero, `lua` is 1 - exp(-f^2 / (2 cutoff^2)), as arXiv 2511.10629 writes it.
    `eagle` is 1 - exp(-(f - cutoff)^2 / 2), a Gaussian of width 1 centred on the cutoff, as EAGLE's authors compute it.
    """
    rows, columns = (torch.fft.fftfreq(size, device=device) for size in (height, width))
    squared = rows[:, None].square() + columns.square()
    if high_pass == "lua":
        return 1 - torch.exp(-squared / (2 * cutoff**2))
    return 1 - torch.exp(-0.5 * (squared.sqrt() - cutoff).square())


def perceptual(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean distance of EfficientNet-Lite0 features, a scalar (LPIPS without learned weights).

    The paper has no such term. It is the distance that `evaluation.perceptual.FeatureDistance` measures, so a training
    with it is judged by what it learned from: look at other metrics and at the images too. Computed in float32.

    Args:
        prediction: RGB (N, 3, H, W) in [-1, 1].
        target: Same shape.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        return _feature_distance(prediction.device)(prediction.float(), target.float()).mean()


@functools.cache
def _feature_distance(device: torch.device) -> nn.Module:
    return effnet_distance().to(device).network


def _spectral(prediction: Tensor, target: Tensor, norm: str, reduction: str, weights: Tensor | None = None) -> Tensor:
    """Return the absolute difference of the magnitudes of both Fourier transforms, (N, C, H, W), reduced to a scalar.

    Of a real image's transform each column but the first, and the middle one of an even width, has a mirror image of
    the same magnitude, which is not computed but counted twice.

    Args:
        prediction: (N, C, H, W).
        target: Same shape.
        norm: As `torch.fft.fft2` calls it.
        reduction: "mean" over all elements, or "sum" over all but N with the mean over N.
        weights: Of the frequencies (H, W), the same for a frequency and its mirror image.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        ours, theirs = (torch.fft.rfft2(images.float(), norm=norm).abs() for images in (prediction, target))
        columns = torch.full((ours.shape[-1],), 2.0, device=ours.device)
        columns[0] = 1.0
        if prediction.shape[-1] % 2 == 0:
            columns[-1] = 1.0
        if weights is not None:
            columns = weights[:, : len(columns)] * columns
        total = ((ours - theirs).abs() * columns).sum()
    return total / (prediction.numel() if reduction == "mean" else len(prediction))


@dataclass(frozen=True)
class Term:
    """A loss term of the curriculum.

    Attributes:
        space: Where it is computed: on latents, or on images decoded by the frozen decoder.
        compute: Its value from prediction, target, options and upscaling factor.
    """

    space: Literal["latent", "pixel"]
    compute: Callable[[Tensor, Tensor, LossOptions, int], Tensor]


def _fft(prediction: Tensor, target: Tensor, options: LossOptions, scale: int) -> Tensor:
    return fft_magnitude(prediction, target, options.fft_norm, options.fft_reduction)


TERMS: dict[str, Term] = {
    "latent_l1": Term("latent", lambda ours, theirs, options, scale: l1(ours, theirs)),
    "latent_fft": Term("latent", _fft),
    "pixel_l1": Term("pixel", lambda ours, theirs, options, scale: l1(ours, theirs)),
    "pixel_fft": Term("pixel", _fft),
    "pixel_downsample": Term(
        "pixel", lambda ours, theirs, options, scale: downsample_l1(ours, theirs, options.downsample_factor or scale)
    ),
    "pixel_high_frequency": Term(
        "pixel",
        lambda ours, theirs, options, scale: high_frequency(
            ours, theirs, options.high_frequency_kernel, options.high_frequency_sigma
        ),
    ),
    "pixel_eagle": Term(
        "pixel",
        lambda ours, theirs, options, scale: eagle(
            ours, theirs, options.eagle_cutoff, options.eagle_high_pass, options.eagle_norm, options.eagle_reduction
        ),
    ),
    "pixel_perceptual": Term("pixel", lambda ours, theirs, options, scale: perceptual(ours, theirs)),
}


def active(weights: Mapping[str, float], space: str) -> dict[str, float]:
    """Return the terms of one space that have a weight above 0."""
    return {name: weight for name, weight in weights.items() if weight and TERMS[name].space == space}


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse loss weights that name no known term, are negative, or are all zero.

    Raises:
        UserError: In one sentence, with the near match of an unknown name.
    """
    for name, weight in weights.items():
        if name not in TERMS:
            raise unknown_name("loss term", name, TERMS)
        if weight < 0:
            raise UserError(f"loss.{name}={weight} is negative: give a weight of 0 (leaves the term out) or more")
    if weights.get("pixel_perceptual"):
        NETWORKS["effnet-lite0"].require()
    if not any(weights.values()):
        raise UserError("no loss term has a weight above 0: set for example loss.latent_l1=1.0")


def compute_terms(
    pairs: Mapping[str, tuple[Tensor, Tensor]], weights: Mapping[str, float], options: LossOptions, scale: int
) -> dict[str, Tensor]:
    """Return each term of weight above 0 before its weight, a scalar by name.

    Args:
        pairs: Prediction and target by space, `latent` and, when a pixel term is asked for, `pixel`.
        weights: By term name.
        options: What the paper leaves open.
        scale: Upscaling factor of the prediction.
    """
    return {
        name: TERMS[name].compute(*pairs[TERMS[name].space], options, scale)
        for name, weight in weights.items()
        if weight
    }
