"""Means over held-out crops, with bootstrap intervals over their photographs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.fidelity import recovery
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, ROWS
from lua_lightning.files import write_json

RESAMPLES = 2000
CONFIDENCE = 0.95
EDGES = (ROWS[LATENT_BICUBIC].suffix, ROWS[CEILING].suffix)  # the rows where recovery is 0 and 1


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

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low * self.high > 0


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
            f"{scale}/recovery": recovery(*(means[f"{scale}/psnr{suffix}"] for suffix in ("", *EDGES)))
            for scale in sorted({name.partition("/")[0] for name in means})
            if all(f"{scale}/psnr{suffix}" in means for suffix in EDGES)
        }
        return {**means, **recoveries}


def intervals(crops: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return every metric of `summarise` with its percentile bootstrap interval.

    Whole photographs are drawn with replacement, since the crops of one photograph are alike. With very few
    photographs such an interval is too narrow; it says how the mean depends on which were drawn, not more.
    """
    columns = _Columns(crops)
    return _bootstrap([crop.photo for crop in crops], lambda weights, _: columns.means(weights), seed)


def paired_differences(ours: Sequence[CropScores], theirs: Sequence[CropScores], seed: int = 0) -> dict[str, Estimate]:
    """Return ours minus theirs in every metric that both have, with the interval of the paired difference.

    Args:
        ours: Scores of one adapter.
        theirs: Scores of another on the same crops, in any order.
        seed: Of the resampling.

    Raises:
        ValueError: The crops are not the same ones.
    """
    return paired_differences_over_seeds([ours], [theirs], seed)


def paired_differences_over_seeds(
    ours: Sequence[Sequence[CropScores]], theirs: Sequence[Sequence[CropScores]], seed: int = 0
) -> dict[str, Estimate]:
    """Return ours minus theirs, averaged over trainings, in every metric that both have, with its interval.

    Photographs and trainings are drawn with replacement, independently of each other (the pigeonhole bootstrap,
    doi 10.1214/07-AOAS122), so that the interval holds what depends on the seed as well. With two or three seeds that
    part is too narrow.

    Args:
        ours: Scores of one variant, training by training.
        theirs: Scores of another, of trainings with the same seeds in the same order, on the same crops.
        seed: Of the resampling.

    Raises:
        ValueError: The crops are not the same ones.
    """
    pairs = []
    for own, other in zip(ours, theirs, strict=True):
        own, other = (sorted(crops, key=lambda crop: crop.sample) for crops in (own, other))
        if [(crop.sample, crop.photo) for crop in own] != [(crop.sample, crop.photo) for crop in other]:
            raise ValueError("a paired difference needs the scores of the same crops")
        pairs.append((_Columns(own), _Columns(other)))

    everywhere = np.ones(len(ours[0]))
    shared = set.intersection(*(set(columns.means(everywhere)) for pair in pairs for columns in pair))

    def statistic(weights: np.ndarray, trainings: np.ndarray) -> dict[str, float]:
        sums = dict.fromkeys(sorted(shared), 0.0)
        for (first, second), count in zip(pairs, trainings, strict=True):
            if count:
                one, other = first.means(weights), second.means(weights)
                for name in sums:
                    sums[name] += float(count) * (one[name] - other[name])
        return {name: value / len(pairs) for name, value in sums.items()}

    photos = [crop.photo for crop in sorted(ours[0], key=lambda crop: crop.sample)]
    return _bootstrap(photos, statistic, seed, len(pairs))


def _bootstrap(
    photos: Sequence[int],
    statistic: Callable[[np.ndarray, np.ndarray], dict[str, float]],
    seed: int,
    trainings: int = 1,
) -> dict[str, Estimate]:
    """Return a statistic of the weights of crops and of trainings, with its interval."""
    groups, member = np.unique(photos, return_inverse=True)
    draw = np.random.default_rng(seed)
    photo_counts = _resampled(draw, len(groups))
    training_counts = _resampled(draw, trainings)
    whole = statistic(np.ones(len(member)), np.ones(trainings))
    resampled = [
        statistic(own[member].astype(float), other.astype(float))
        for own, other in zip(photo_counts, training_counts, strict=True)
    ]
    edges = (1 - CONFIDENCE) / 2 * 100, (1 + CONFIDENCE) / 2 * 100
    estimates = {}
    for name, value in whole.items():
        low, high = np.percentile([one[name] for one in resampled], edges)
        estimates[name] = Estimate(value, float(low), float(high))
    return estimates


def _resampled(draw: np.random.Generator, count: int) -> np.ndarray:
    return draw.multinomial(count, np.full(count, 1 / count), RESAMPLES)


def write_scores(path: Path, crops: Sequence[CropScores]) -> None:
    """Write the scores of every crop as JSON, for `read_scores`, which never sees half a file."""
    write_json(path, [asdict(crop) for crop in crops], indent=None)


def read_scores(path: Path) -> list[CropScores]:
    """Return the scores that `write_scores` wrote.

    Raises:
        UserError: The file is missing or damaged.
    """
    try:
        return [CropScores(**crop) for crop in read_json(path, list)]
    except TypeError as error:
        raise UserError(f"{path} holds something else than the scores of crops: measure them again") from error
