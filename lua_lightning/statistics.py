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
    names = sorted(crops[0].values)
    means = {name: float(np.mean([crop.values[name] for crop in crops])) for name in names}
    return {**means, **_recoveries(means)}


def _recoveries(means: dict[str, float]) -> dict[str, float]:
    scales = sorted({name.partition("/")[0] for name in means})
    return {
        f"{scale}/recovery": recovery(*(means[f"{scale}/psnr{of}"] for of in ("", "_bicubic", "_ceiling")))
        for scale in scales
        if f"{scale}/psnr_ceiling" in means
    }


def intervals(crops: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return every metric of `summarise` with its percentile bootstrap interval.

    Whole photographs are drawn with replacement, since the crops of one photograph are alike. With very few
    photographs such an interval is too narrow; it says how the mean depends on which were drawn, not more.
    """
    names = sorted(crops[0].values)
    values = np.array([[crop.values[name] for name in names] for crop in crops])

    def statistic(weights: np.ndarray) -> dict[str, float]:
        means = dict(zip(names, np.average(values, axis=0, weights=weights).tolist(), strict=True))
        return {**means, **_recoveries(means)}

    return _bootstrap([crop.photo for crop in crops], statistic, seed)


def paired_differences(ours: Sequence[CropScores], theirs: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return ours minus theirs in every metric of `summarise`, with the interval of the paired difference.

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
    names = sorted(ours[0].values.keys() & theirs[0].values.keys())
    first, second = (np.array([[crop.values[name] for name in names] for crop in crops]) for crops in (ours, theirs))

    def statistic(weights: np.ndarray) -> dict[str, float]:
        results = []
        for values in (first, second):
            means = dict(zip(names, np.average(values, axis=0, weights=weights).tolist(), strict=True))
            results.append({**means, **_recoveries(means)})
        return {name: results[0][name] - results[1][name] for name in results[0]}

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
    """Write the scores of every crop as JSON, for `read_scores`."""
    path.write_text(json.dumps([asdict(crop) for crop in crops]) + "\n")


def read_scores(path: Path) -> list[CropScores]:
    """Return the scores that `write_scores` wrote."""
    return [CropScores(**crop) for crop in json.loads(path.read_text())]
