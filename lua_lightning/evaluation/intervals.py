"""Means over held-out crops, with intervals over their photographs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from lua_lightning.documents import read_json
from lua_lightning.errors import UserError
from lua_lightning.evaluation.fidelity import recovery
from lua_lightning.evaluation.rows import CEILING, LATENT_BICUBIC, ROWS
from lua_lightning.files import write_json

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
    """A value and its 95 % interval, which has no bounds where a single photograph says nothing of others."""

    value: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def entry(self) -> dict[str, float]:
        """Return `value`, and `low` and `high` where there is an interval; all of them JSON numbers."""
        return asdict(self) if self.bounded else {"value": self.value}

    @classmethod
    def of_entry(cls, entry: Mapping[str, Any]) -> "Estimate":
        """Return the estimate that `entry` wrote."""
        return cls(**{key: entry[key] for key in ("value", "low", "high") if key in entry})


def jackknifed(value: np.ndarray | float, *left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of a value, by the jackknife and Student's t.

    Each kind of unit, such as photographs or trainings, has the jackknife variance V = (G - 1) / G sum (v_g - m)^2,
    where v_g is the value without unit g and m the mean of these, and Student's t of G - 1 degrees of freedom. Half
    the interval is the root of the sum of t^2 V over the kinds. For the mean of equally large units of one kind, this
    is the textbook interval of Student's t.

    Args:
        value: Any shape.
        left_out: For each kind of unit, the value without each of its units, (G, *shape of the value).

    Returns:
        Low and high, in the value's shape; infinite where a kind has a single unit.
    """
    value, square = np.asarray(value, dtype=float), np.zeros(np.shape(value))
    for without_each in left_out:
        freedom = len(without_each) - 1
        if freedom < 1:
            return np.full(value.shape, -np.inf), np.full(value.shape, np.inf)
        square = square + stats.t.ppf((1 + CONFIDENCE) / 2, freedom) ** 2 * freedom * np.var(without_each, axis=0)
    half = np.sqrt(square)
    return value - half, value + half


def summarise(crops: Sequence[CropScores]) -> dict[str, float]:
    """Return the mean of each metric, with `recovery` added at each scale, taken from the mean PSNRs."""
    columns = _Columns(crops)
    return {name: float(value) for name, value in columns.derived(columns.values.mean(0)).items()}


class _Columns:
    """Scores as one array, (crops, metrics)."""

    def __init__(self, crops: Sequence[CropScores]) -> None:
        self.names = sorted(crops[0].values)
        self.values = np.array([[crop.values[name] for name in self.names] for crop in crops])
        self.member = np.unique([crop.photo for crop in crops], return_inverse=True)[1]

    def derived(self, means: np.ndarray) -> dict[str, np.ndarray]:
        """Return means (..., metrics) by metric, and of each scale the recovery between its mean PSNRs."""
        found = {name: means[..., column] for column, name in enumerate(self.names)}
        recoveries = {
            f"{scale}/recovery": recovery(*(found[f"{scale}/psnr{suffix}"] for suffix in ("", *EDGES)))
            for scale in sorted({name.partition("/")[0] for name in found})
            if all(f"{scale}/psnr{suffix}" in found for suffix in EDGES)
        }
        return {**found, **recoveries}

    def without_each_photo(self) -> np.ndarray:
        """Return the means over the crops of all photographs but one, (photographs, metrics); none of a single one."""
        photos = self.member.max() + 1
        if photos < 2:
            return self.values[:0]
        sums, counts = np.zeros((photos, self.values.shape[1])), np.bincount(self.member)
        np.add.at(sums, self.member, self.values)
        return (sums.sum(0) - sums) / (counts.sum() - counts)[:, None]


def intervals(crops: Sequence[CropScores]) -> dict[str, Estimate]:
    """Return every metric of `summarise` with its interval, from the values without each photograph: see `jackknifed`.

    Whole photographs are left out, since the crops of one photograph are alike.
    """
    columns = _Columns(crops)
    means, without = columns.derived(columns.values.mean(0)), columns.derived(columns.without_each_photo())
    return {name: _estimate(value, without[name]) for name, value in means.items()}


def _estimate(value: np.ndarray, *left_out: np.ndarray) -> Estimate:
    low, high = jackknifed(value, *left_out)
    return Estimate(float(value), float(low), float(high))


def paired_differences(ours: Sequence[CropScores], theirs: Sequence[CropScores]) -> dict[str, Estimate]:
    """Return ours minus theirs in every metric that both have, with the interval of the paired difference.

    Args:
        ours: Scores of one adapter.
        theirs: Scores of another on the same crops, in any order.

    Raises:
        ValueError: The crops are not the same ones.
    """
    return paired_differences_over_seeds([ours], [theirs])


def paired_differences_over_seeds(
    ours: Sequence[Sequence[CropScores]], theirs: Sequence[Sequence[CropScores]]
) -> dict[str, Estimate]:
    """Return ours minus theirs, averaged over trainings, in every metric that both have, with its interval.

    The interval adds what depends on the photographs and what depends on the seed, each by leaving one out: see
    `jackknifed`. From a single training it says nothing of other seeds.

    Args:
        ours: Scores of one variant, training by training.
        theirs: Scores of another, of trainings with the same seeds in the same order, on the same crops.

    Raises:
        ValueError: The crops are not the same ones.
    """
    pairs = []
    for training, other in zip(ours, theirs, strict=True):
        training, other = (sorted(crops, key=lambda crop: crop.sample) for crops in (training, other))
        if [(crop.sample, crop.photo) for crop in training] != [(crop.sample, crop.photo) for crop in other]:
            raise ValueError("a paired difference needs the scores of the same crops")
        pairs.append((_Columns(training), _Columns(other)))

    whole = [_difference(pair, lambda columns: columns.values.mean(0)) for pair in pairs]
    without = [_difference(pair, _Columns.without_each_photo) for pair in pairs]
    found = {}
    for name in sorted(set.intersection(*map(set, whole))):
        by_seed = np.array([differences[name] for differences in whole])
        units = [np.mean([differences[name] for differences in without], axis=0)]
        if len(pairs) > 1:
            units.append((by_seed.sum() - by_seed) / (len(pairs) - 1))
        found[name] = _estimate(by_seed.mean(), *units)
    return found


def _difference(pair: tuple[_Columns, _Columns], means: Callable[[_Columns], np.ndarray]) -> dict[str, np.ndarray]:
    one, other = (columns.derived(means(columns)) for columns in pair)
    return {name: value - other[name] for name, value in one.items() if name in other}


def write_scores(path: Path, crops: Sequence[CropScores]) -> None:
    """Write the scores of every crop as JSON, for `read_scores`, which never sees half a file."""
    write_json(path, [asdict(crop) for crop in crops], indent=None)


def read_scores(path: Path) -> list[CropScores]:
    """Return the scores that `write_scores` wrote.

    Raises:
        UserError: The file is missing, damaged, or holds something else.
    """
    crops = read_json(path, list)
    for number, crop in enumerate(crops):
        if not _is_crop(crop) or crop["values"].keys() != crops[0]["values"].keys():
            raise UserError(f"{path} holds no scores as entry {number + 1}: it is damaged, or another file")
    if not crops:
        raise UserError(f"{path} holds no scores at all: it is damaged, or another file")
    return [CropScores(**crop) for crop in crops]


def _is_crop(content: Any) -> bool:
    if not isinstance(content, dict) or content.keys() != CropScores.__dataclass_fields__.keys():
        return False
    values, numbers = content["values"], (content["sample"], content["photo"])
    return (
        all(type(number) is int for number in numbers)
        and isinstance(values, dict)
        and len(values) > 0
        and all(type(value) in (int, float) for value in values.values())
    )
