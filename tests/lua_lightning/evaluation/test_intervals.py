import numpy as np
import pytest
from scipy.stats import norm

from lua_lightning.evaluation.fidelity import recovery
from lua_lightning.evaluation.intervals import (
    CropScores,
    intervals,
    paired_differences,
    read_scores,
    summarise,
    write_scores,
)


def scores(values, photos=None, **more):
    photos = range(len(values)) if photos is None else photos
    return [
        CropScores(n, photo, {"x2/psnr": value, **{name: column[n] for name, column in more.items()}})
        for n, (value, photo) in enumerate(zip(values, photos, strict=True))
    ]


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(30, 2, 200).tolist()


def test_independent_crops_get_the_interval_of_the_normal_law(values):
    estimate = intervals(scores(values))["x2/psnr"]
    half = norm.ppf(0.975) * np.std(values) / np.sqrt(len(values))
    assert estimate.value == pytest.approx(np.mean(values))
    assert estimate.low == pytest.approx(np.mean(values) - half, abs=0.05 * half)
    assert estimate.high == pytest.approx(np.mean(values) + half, abs=0.05 * half)


def test_equal_crops_of_one_photograph_count_once(values):
    single, four_times = scores(values), scores(np.repeat(values, 4).tolist(), np.repeat(range(200), 4).tolist())
    one, many = intervals(single)["x2/psnr"], intervals(four_times)["x2/psnr"]
    assert many.high - many.low == pytest.approx(one.high - one.low)


def test_recovery_is_taken_from_the_means():
    crops = scores([30.0, 40.0], **{"x2/psnr_bicubic": [20.0, 30.0], "x2/psnr_ceiling": [40.0, 60.0]})
    assert summarise(crops)["x2/recovery"] == pytest.approx(recovery(35, 25, 50))
    assert intervals(crops)["x2/recovery"].value == pytest.approx(0.4)
    assert (intervals(crops)["x2/recovery"].low, intervals(crops)["x2/recovery"].high) == pytest.approx((1 / 3, 0.5))


def test_pairing_removes_what_the_photographs_have_in_common(values):
    better = [value + 0.1 for value in values]
    difference = paired_differences(scores(better)[::-1], scores(values))["x2/psnr"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same crops"):
        paired_differences(scores(values[1:]), scores(values))


def test_scores_survive_a_file(tmp_path, values):
    write_scores(tmp_path / "scores.json", scores(values))
    assert read_scores(tmp_path / "scores.json") == scores(values)
