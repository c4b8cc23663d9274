"""CMMD between sets of features: the maximum mean discrepancy of CLIP embeddings, whose bias it can tell."""

import numpy as np
from torch import Tensor

from lua_lightning.evaluation.distribution import FEWEST_IMAGES, ImageFeatures, kernel_sums
from lua_lightning.evaluation.intervals import Estimate, jackknifed

SIGMA, SCALE = 10.0, 1000.0  # width of the kernel and factor of the value, as published


def gaussian(one: Tensor, other: Tensor) -> Tensor:
    """Return exp(-|x - y|^2 / (2 sigma^2)) of every pair of rows (N, D) and (M, D), as (N, M)."""
    squares = one.square().sum(1)[:, None] + other.square().sum(1)
    return (one @ other.T).mul_(2).sub_(squares).div_(2 * SIGMA**2).exp_()


def cmmd(features: ImageFeatures, reference: ImageFeatures, device: str = "cpu") -> float:
    """Return CMMD (arXiv 2401.09603): 1000 times the mean kernel within each set, less twice that across.

    As published, a feature with itself counts as a pair. So the value is never negative and is higher the fewer
    images there are: see `small_sample_part`.
    """
    return float(_Means(features, reference, device).value)


def cmmd_estimate(features: ImageFeatures, reference: ImageFeatures, device: str = "cpu") -> tuple[Estimate, float]:
    """Return CMMD with its interval, and the part of it that comes from the number of images.

    The interval is from the values without each image of either set: see `intervals.jackknifed`. The part is what
    falls away when two features of one image are no pair, as in `distribution.kid`; NaN of a single image.
    """
    means = _Means(features, reference, device)
    low, high = jackknifed(means.value, *means.without_each_image())
    return Estimate(float(means.value), float(low), float(high)), float(means.small_sample_part())


class _Means:
    """Mean kernels within and across two sets, from the kernel summed over the features of each pair of images."""

    def __init__(self, features: ImageFeatures, reference: ImageFeatures, device: str) -> None:
        self.ours, self.theirs = features.counts, reference.counts
        self.within = [kernel_sums(images, images, device, gaussian) for images in (features, reference)]
        self.across = kernel_sums(features, reference, device, gaussian)

    @property
    def value(self) -> float:
        within = sum(
            kernel.sum() / counts.sum() ** 2
            for kernel, counts in zip(self.within, (self.ours, self.theirs), strict=True)
        )
        return SCALE * (within - 2 * self.across.sum() / (self.ours.sum() * self.theirs.sum()))

    def small_sample_part(self) -> float:
        parts = []
        for kernel, counts in zip(self.within, (self.ours, self.theirs), strict=True):
            if len(counts) < FEWEST_IMAGES:
                return float("nan")
            others = (kernel.sum() - np.trace(kernel)) / (counts.sum() ** 2 - (counts**2).sum())
            parts.append(kernel.sum() / counts.sum() ** 2 - others)
        return SCALE * sum(parts)

    def without_each_image(self) -> tuple[np.ndarray, np.ndarray]:
        found = []
        sides = (
            (self.within[0], self.ours, self.within[1], self.theirs, self.across),
            (self.within[1], self.theirs, self.within[0], self.ours, self.across.T),
        )
        for kernel, counts, other, others, across in sides:
            left = counts.sum() - counts
            if len(counts) < FEWEST_IMAGES:
                found.append(np.zeros(1))
                continue
            within = (kernel.sum() - 2 * kernel.sum(1) + np.diag(kernel)) / left**2
            rest = other.sum() / others.sum() ** 2
            found.append(SCALE * (within + rest - 2 * (across.sum() - across.sum(1)) / (left * others.sum())))
        return found[0], found[1]
