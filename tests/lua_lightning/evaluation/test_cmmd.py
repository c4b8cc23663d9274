"""CMMD, against the published formula written out pair by pair."""

import numpy as np
import pytest

from lua_lightning.evaluation import distribution
from lua_lightning.evaluation.cmmd import cmmd, cmmd_estimate
from lua_lightning.evaluation.distribution import ImageFeatures, fid


def unit(rows, shift, seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(size=(rows, 12)) + shift
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def published(ours, theirs):
    """Mean kernel within and across, with every feature paired with itself too; sigma 10, scale 1000."""

    def mean(one, other):
        return np.mean([[np.exp(-((x - y) ** 2).sum() / (2 * 10**2)) for y in other] for x in one])

    return 1000 * (mean(ours, ours) + mean(theirs, theirs) - 2 * mean(ours, theirs))


@pytest.mark.parametrize("block", [2**24, 40])
def test_the_value_is_the_published_one(block, monkeypatch):
    monkeypatch.setattr(distribution, "BLOCK_VALUES", block)
    ours, theirs = unit(14, 0.4, 0), unit(9, 0.0, 1)
    groups = np.repeat(np.arange(7), 2)
    assert cmmd(ImageFeatures(ours), ImageFeatures(theirs)) == pytest.approx(published(ours, theirs), rel=1e-9)
    assert cmmd(ImageFeatures(ours, groups), ImageFeatures(theirs)) == pytest.approx(published(ours, theirs), rel=1e-9)


def test_the_interval_is_the_jackknifes():
    ours, theirs, groups = unit(10, 0.4, 0), unit(6, 0.0, 1), np.repeat(np.arange(5), 2)
    estimate, _ = cmmd_estimate(ImageFeatures(ours, groups), ImageFeatures(theirs))
    without = (
        [published(ours[groups != image], theirs) for image in range(5)],
        [published(ours, np.delete(theirs, image, 0)) for image in range(6)],
    )
    variances = [
        (len(values) - 1) / len(values) * ((np.array(values) - np.mean(values)) ** 2).sum() for values in without
    ]
    half = np.sqrt(2.7764451**2 * variances[0] + 2.5705818**2 * variances[1])  # Student's t of 4 and 5 degrees
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-6)
    assert estimate.value - estimate.low == pytest.approx(half, rel=1e-6)


def test_what_few_images_add_is_told():
    """Of equal distributions the whole value is that part, on average."""
    values = [cmmd_estimate(*(ImageFeatures(unit(12, 0.0, 100 * side + n)) for side in (1, 2))) for n in range(40)]
    parts = np.mean([part for _, part in values])
    assert np.mean([estimate.value for estimate, _ in values]) == pytest.approx(parts, rel=0.05)
    many = cmmd_estimate(*(ImageFeatures(unit(200, 0.0, seed)) for seed in (1, 2)))[1]
    assert many < 0.1 * parts


def test_a_single_image_has_a_value_and_no_interval():
    estimate, part = cmmd_estimate(ImageFeatures(unit(1, 0.4, 0)), ImageFeatures(unit(5, 0.0, 1)))
    assert not estimate.bounded
    assert np.isnan(part)
    assert estimate.value > 0


def test_the_frechet_distance_is_scipys():
    from scipy.linalg import sqrtm

    ours, theirs = unit(60, 0.4, 0), unit(50, 0.0, 1)
    (a, s), (b, t) = ((samples.mean(0), np.cov(samples.T)) for samples in (ours, theirs))
    expected = ((a - b) ** 2).sum() + np.trace(s + t - 2 * np.real(sqrtm(s @ t)))
    assert fid(ours, theirs) == pytest.approx(expected, rel=1e-6)
