import numpy as np
import pytest
from scipy import linalg

from lua_lightning.errors import UserError
from lua_lightning.evaluation.distribution import fid, kernel_mmd, kid, kid_estimate, meaningful


@pytest.fixture
def features():
    draw = np.random.default_rng(0)
    return draw.normal(size=(40, 6)), draw.normal(size=(50, 6)) * 1.2 + 0.4


def test_fid_is_the_frechet_distance_of_gaussians(features):
    one, other = features
    product = linalg.sqrtm(np.cov(one.T) @ np.cov(other.T)).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * product)
    assert fid(one, other) == pytest.approx(expected, rel=1e-9)
    assert fid(one, one) == pytest.approx(0, abs=1e-6)


def test_kid_is_the_mean_over_pairs(features):
    """Spelled out pair by pair for all samples, which is what fewer than a subset's size amount to."""
    one, other = features[0][:12], features[1][:12]

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    def within(own):
        return np.mean([kernel(a, b) for i, a in enumerate(own) for j, b in enumerate(own) if i != j])

    expected = within(one) + within(other) - 2 * np.mean([kernel(a, b) for a in one for b in other])
    assert kid(one, other) == pytest.approx(expected, rel=1e-9)
    assert kernel_mmd(one, other, np.ones(12), np.ones(12)) == pytest.approx(expected, rel=1e-9)


def test_kid_leaves_numpys_global_source_alone(features):
    np.random.seed(5)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert kid(*features, seed=1) == kid(*features, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_copies_of_a_sample_are_not_pairs(features):
    one, other = features
    doubled = kernel_mmd(one, other, 2 * np.ones(40), np.ones(50))
    assert doubled == pytest.approx(kernel_mmd(one, other, np.ones(40), np.ones(50)), rel=1e-9)


def test_the_interval_holds_the_value_and_widens_when_crops_of_an_image_are_alike(features):
    one, other = features
    apart = kid_estimate(one, other, np.arange(40), np.arange(50))
    assert apart.low < apart.value < apart.high
    alike = np.repeat(one[:8], 5, axis=0)  # 5 crops of each of 8 images, all the same
    grouped = kid_estimate(alike, other, np.repeat(np.arange(8), 5), np.arange(50))
    ignored = kid_estimate(alike, other, np.arange(40), np.arange(50))
    assert grouped.high - grouped.low > 1.3 * (ignored.high - ignored.low)


def test_a_frechet_distance_needs_more_samples_than_dimensions():
    assert meaningful(np.zeros((7, 6)), np.zeros((50, 6)))
    assert not meaningful(np.zeros((6, 6)), np.zeros((50, 6)))


def test_two_images_have_an_interval_and_one_has_no_distance(features):
    one, other = features
    estimate = kid_estimate(one[:2], other, np.arange(2), np.arange(50))
    assert estimate.low < estimate.high
    with pytest.raises(UserError, match="at least 2 images"):
        kid_estimate(one[:1], other, np.zeros(1), np.arange(50))
