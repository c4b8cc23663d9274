"""Means over held-out crops, with bootstrap intervals over their photographs."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lua_lightning.metrics import recovery

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class CropScores:
    """What was measured on one held-out crop.

    Attributes:
        sample: Its number in the split.
        photo: Number of the photograph it is from.
        values: By `x<scale>/<metric>`.
    """

    sample: int
    photo: int
    values: dict[str, float]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def summarise(crops: Sequence[CropScores]) -> dict[str, float]:
    """Return the mean of each metric, with `recovery` added at each scale, taken from the mean PSNRs."""
    return _Columns(crops).means(np.ones(len(crops)))


class _Columns:
    """Scores as one array, (crops, metrics)."""

    def __init__(self, crops: Sequence[CropScores]) -> None:
        self.names = sorted(crops[0].values)
        self.values = np.array([[crop.values[name] for name in self.names] for crop in crops])

    def means(self, weights: np.ndarray) -> dict[str, float]:
        """Return the weighted mean of each metric, and of each scale the recovery between its mean PSNRs."""
        means = dict(zip(self.names, np.average(self.values, axis=0, weights=weights).tolist(), strict=True))
        recoveries = {
            f"{scale}/recovery": recovery(*(means[f"{scale}/psnr{of}"] for of in ("", "_bicubic", "_ceiling")))
            for scale in sorted({name.partition("/")[0] for name in means})
            if f"{scale}/psnr_ceiling" in means
        }
        return {**means, **recoveries}


def intervals(crops: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return every metric of `summarise` with its percentile bootstrap interval.

    Whole photographs are drawn with replacement, since the crops of one photograph are alike. With very few
    photographs such an interval is too narrow; it says how the mean depends on which were drawn, not more.
    """
    return _bootstrap([crop.photo for crop in crops], _Columns(crops).means, seed)


def paired_differences(ours: Sequence[CropScores], theirs: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return ours minus theirs in every metric that both have, with the interval of the paired difference.

    Args:
        ours: Scores of one adapter.
        theirs: Scores of another on the same crops, in any order.
        seed: Of the resampling.

    Raises:
        ValueError: The crops are not the same ones.
    """
    ours, theirs = (sorted(crops, key=lambda crop: crop.sample) for crops in (ours, theirs))
    if [(crop.sample, crop.photo) for crop in ours] != [(crop.sample, crop.photo) for crop in theirs]:
        raise ValueError("a paired difference needs the scores of the same crops")
    first, second = _Columns(ours), _Columns(theirs)

    def statistic(weights: np.ndarray) -> dict[str, float]:
        one, other = first.means(weights), second.means(weights)
        return {name: one[name] - other[name] for name in one if name in other}

    return _bootstrap([crop.photo for crop in ours], statistic, seed)


def _bootstrap(
    photos: Sequence[int], statistic: Callable[[np.ndarray], dict[str, float]], seed: int
) -> dict[str, Estimate]:
    groups, member = np.unique(photos, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
    whole = statistic(np.ones(len(member)))
    resampled = [statistic(counts[member].astype(float)) for counts in draws]
    edges = (1 - CONFIDENCE) / 2 * 100, (1 + CONFIDENCE) / 2 * 100
    estimates = {}
    for name, value in whole.items():
        low, high = np.percentile([draw[name] for draw in resampled], edges)
        estimates[name] = Estimate(value, float(low), float(high))
    return estimates


def write_scores(path: Path, crops: Sequence[CropScores]) -> None:
    """Write the scores of every crop as JSON, for `read_scores`, which never sees half a file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(crop) for crop in crops]) + "\n")
    partial.replace(path)


def read_scores(path: Path) -> list[CropScores]:
    """Return the scores that `write_scores` wrote."""
    return [CropScores(**crop) for crop in json.loads(path.read_text())]
