"""FID and KID between sets of features, with intervals; through clean-fid's own functions."""

import numpy as np
from cleanfid.fid import frechet_distance, kernel_distance

from lua_lightning.errors import UserError
from lua_lightning.evaluation.intervals import CONFIDENCE, Estimate

RESAMPLES = 200
SUBSETS, SUBSET_SIZE = 100, 1000  # of KID, as clean-fid has them


def fid(features: np.ndarray, reference: np.ndarray) -> float:
    """Return the Frechet distance between Gaussians fitted to two sets of features (N, D) and (M, D).

    With no more samples than dimensions the covariances are singular and the value mostly measures the sample count:
    see `meaningful`.
    """
    moments = [(own.mean(0), np.cov(own, rowvar=False)) for own in (features, reference)]
    return float(frechet_distance(*moments[0], *moments[1]))


def kid(features: np.ndarray, reference: np.ndarray, seed: int = 0) -> float:
    """Return the kernel inception distance (arXiv 1801.01401) of two sets of features, unbiased for any count.

    Args:
        features: (N, D), N at least 2.
        reference: (M, D), M at least 2.
        seed: Of the subsets, which are all samples where there are no more than 1,000.
    """
    count = min(len(features), len(reference))
    state = np.random.get_state()  # noqa: NPY002 - clean-fid draws from numpy's global source
    np.random.seed(seed)  # noqa: NPY002
    try:
        return float(kernel_distance(features, reference, SUBSETS, min(count, SUBSET_SIZE)))
    finally:
        np.random.set_state(state)  # noqa: NPY002


def meaningful(features: np.ndarray, reference: np.ndarray) -> bool:
    """Return whether there are more samples than dimensions, below which a Frechet distance says little."""
    return min(len(features), len(reference)) > features.shape[1]


def kernel_mmd(
    features: np.ndarray, reference: np.ndarray, weights: np.ndarray, reference_weights: np.ndarray
) -> float:
    """Return the unbiased squared MMD with KID's cubic kernel, each sample counted by an integer weight."""
    kernels = [
        (one @ other.T / one.shape[1] + 1) ** 3
        for one, other in ((features, features), (reference, reference), (features, reference))
    ]
    within = 0.0
    for kernel, own in ((kernels[0], weights), (kernels[1], reference_weights)):
        pairs = own.sum() ** 2 - (own**2).sum()  # copies of one sample are no pair
        within += (own @ kernel @ own - (own**2 * np.diag(kernel)).sum()) / pairs
    across = weights @ kernels[2] @ reference_weights / (weights.sum() * reference_weights.sum())
    return float(within - 2 * across)


def kid_estimate(
    features: np.ndarray, reference: np.ndarray, groups: np.ndarray, reference_groups: np.ndarray, seed: int = 0
) -> Estimate:
    """Return KID with its bootstrap interval; whole images are drawn, since the crops of one image are alike.

    Args:
        features: (N, D).
        reference: (M, D).
        groups: Image of each feature, (N,).
        reference_groups: Likewise, (M,).
        seed: Of the resampling.

    Raises:
        UserError: One of the sets is of fewer than two images.
    """
    if min(len(set(groups)), len(set(reference_groups))) < 2:
        raise UserError("a kernel distance needs at least 2 images")
    draw = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        weights = [_resampled(own, draw) for own in (groups, reference_groups)]
        values.append(kernel_mmd(features, reference, *weights))
    low, high = np.percentile(values, [(1 - CONFIDENCE) / 2 * 100, (1 + CONFIDENCE) / 2 * 100])
    return Estimate(kid(features, reference), float(low), float(high))


def _resampled(groups: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    names, member = np.unique(groups, return_inverse=True)
    while True:
        counts = draw.multinomial(len(names), np.full(len(names), 1 / len(names)))
        if (counts > 0).sum() > 1:  # one image alone, however often, has no pairs
            return counts[member].astype(float)
