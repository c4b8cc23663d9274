import numpy as np
import pytest
from cleanfid.fid import kernel_distance
from scipy import linalg

from lua_lightning.errors import UserError
from lua_lightning.evaluation import distribution as module
from lua_lightning.evaluation.distribution import ImageFeatures, fid, kernel_sums, kid, kid_estimate, meaningful


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


def spelled_out(one, other, images, others, same_images=False):
    """Return KID pair by pair, in the words of its definition."""

    def kernel(a, b):
        return (a @ b / len(a) + 1) ** 3

    def within(samples, labels):
        pairs = [(a, b) for i, a in enumerate(samples) for j, b in enumerate(samples) if labels[i] != labels[j]]
        return np.mean([kernel(a, b) for a, b in pairs])

    across = [
        kernel(a, b)
        for i, a in enumerate(one)
        for j, b in enumerate(other)
        if not (same_images and images[i] == others[j])
    ]
    return within(one, images) + within(other, others) - 2 * np.mean(across)


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_kid_is_the_mean_over_pairs_of_different_images(features, monkeypatch, block):
    """The size of the kernel's blocks changes nothing."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 14 * block)
    one, other = features[0][:12], features[1][:14]
    apart = spelled_out(one, other, range(12), range(14))
    assert kid(ImageFeatures(one), ImageFeatures(other)) == pytest.approx(apart, rel=1e-9)
    images, others = np.array([3, 3, 3, 1, 1, 1, 0, 0, 0, 9, 9, 9]), np.array([7] * 5 + [3] * 2 + [1] * 7)
    grouped = ImageFeatures(one, images), ImageFeatures(other, others)
    assert kid(*grouped) == pytest.approx(spelled_out(one, other, images, others), rel=1e-9)
    expected = spelled_out(one, other, images, others, same_images=True)
    assert kid(*grouped, same_images=True) == pytest.approx(expected, rel=1e-9)


def test_equal_counts_give_clean_fids_value(features):
    one, other = features[0], features[1][:40]
    assert kid(ImageFeatures(one), ImageFeatures(other)) == pytest.approx(kernel_distance(one, other, 1, 40), rel=1e-9)


def test_unequal_counts_give_the_mean_of_clean_fids_subsets(features, monkeypatch):
    monkeypatch.setattr(np.random, "choice", np.random.default_rng(0).choice)
    subsets = [kernel_distance(*features, 100, 40) for _ in range(20)]
    error = np.std(subsets, ddof=1) / np.sqrt(len(subsets))
    assert kid(*map(ImageFeatures, features)) == pytest.approx(np.mean(subsets), abs=4 * error)


def drawn(draw, count, each, shift=0.0, scale=1.0):
    """Return features of `count` images, `each` of every one, with half their variance shared within an image."""
    common, individual = draw.normal(size=(count, 1, 64)), draw.normal(size=(count, each, 64))
    values = shift + scale * (common + individual) / np.sqrt(2)
    return ImageFeatures(values.reshape(-1, 64), np.repeat(np.arange(count), each))


@pytest.mark.parametrize(("ours", "theirs", "times"), [(2, 23, 2000), (4, 23, 800), (10, 23, 300), (50, 50, 30)])
def test_patches_of_one_image_do_not_raise_the_distance(ours, theirs, times):
    """All are of one distribution, so the distance is 0; taken for independent, patches of 2 images give 1.2."""
    draw = np.random.default_rng(ours)
    values = [kid(drawn(draw, ours, 16), drawn(draw, theirs, 2)) for _ in range(times)]
    assert np.mean(values) == pytest.approx(0, abs=0.016)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (1.0, 1.2)])
@pytest.mark.parametrize("each", [1, 6])
def test_the_interval_covers_the_true_distance_at_twenty_images(each, shift, scale):
    draw = np.random.default_rng(each)
    # The kernel of x = shift + scale s and y, both of 64 independent normal numbers: E (x.y / 64 + 1)^3 by moments.
    true = population(shift, scale, shift, scale) + population(0, 1, 0, 1) - 2 * population(shift, scale, 0, 1)
    found = [kid_estimate(drawn(draw, 20, each, shift, scale), drawn(draw, 23, each)) for _ in range(300)]
    assert np.mean([one.low <= true <= one.high for one in found]) > 0.93
    assert np.mean([one.value for one in found]) == pytest.approx(true, abs=0.02 + 0.02 * true)


def population(shift, scale, other_shift, other_scale, dimensions=64):
    """Return the mean kernel of two independent features; the numbers of each are normal."""
    mean = shift * other_shift
    second = (shift**2 + scale**2) * (other_shift**2 + other_scale**2)
    third = (shift**3 + 3 * shift * scale**2) * (other_shift**3 + 3 * other_shift * other_scale**2)
    variance, skew = second - mean**2, third - 3 * mean * second + 2 * mean**3
    centre = mean + 1
    return centre**3 + 3 * centre * variance / dimensions + skew / dimensions**2


def test_memory_does_not_grow_with_the_square_of_the_features(monkeypatch):
    """4,000 features have a kernel of 122 MiB; a block of it has 1."""
    monkeypatch.setattr(module, "BLOCK_VALUES", 2**17)
    features = drawn(np.random.default_rng(0), 250, 16)
    sizes = []
    real = module._add_block

    def add_block(kernel, sums, one, other, *rest):
        sizes.append(len(one) * len(other))
        return real(kernel, sums, one, other, *rest)

    monkeypatch.setattr(module, "_add_block", add_block)
    kernel_sums(features, features)
    assert max(sizes) <= 2**17
    assert len(sizes) > 100


def test_a_frechet_distance_needs_more_samples_than_dimensions():
    assert meaningful(np.zeros((7, 6)), np.zeros((50, 6)))
    assert not meaningful(np.zeros((6, 6)), np.zeros((50, 6)))


def test_two_images_have_a_distance_without_an_interval_and_one_has_none(features):
    one, other = features[0], ImageFeatures(features[1])
    estimate = kid_estimate(ImageFeatures(one[:2]), other)
    assert not estimate.bounded
    assert estimate.value == kid(ImageFeatures(one[:2]), other)
    assert kid_estimate(ImageFeatures(one[:3]), other).bounded
    for single in (ImageFeatures(one[:1]), ImageFeatures(one, np.zeros(len(one)))):
        with pytest.raises(UserError, match="at least 2 images"):
            kid_estimate(single, other)
