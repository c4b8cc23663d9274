import numpy as np
import pytest
from scipy.stats import t

from lua_lightning.evaluation.fidelity import recovery
from lua_lightning.evaluation.intervals import (
    CropScores,
    Estimate,
    intervals,
    paired_differences,
    paired_differences_over_seeds,
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


def test_independent_crops_get_the_interval_of_students_t(values):
    for n in (2, 5, 200):
        estimate = intervals(scores(values[:n]))["x2/psnr"]
        expected = t.interval(0.95, n - 1, np.mean(values[:n]), np.std(values[:n], ddof=1) / np.sqrt(n))
        assert (estimate.low, estimate.high) == pytest.approx(expected)
        assert estimate.value == pytest.approx(np.mean(values[:n]))


def test_a_single_photograph_has_no_interval(values):
    estimate = intervals(scores(values, [0] * len(values)))["x2/psnr"]
    assert not estimate.bounded
    assert not estimate.clear
    assert estimate.entry() == {"value": pytest.approx(np.mean(values))}
    assert Estimate.of_entry(estimate.entry()) == estimate


def test_equal_crops_of_one_photograph_count_once(values):
    single, four_times = scores(values), scores(np.repeat(values, 4).tolist(), np.repeat(range(200), 4).tolist())
    one, many = intervals(single)["x2/psnr"], intervals(four_times)["x2/psnr"]
    assert many.high - many.low == pytest.approx(one.high - one.low)


def test_recovery_is_taken_from_the_means():
    crops = scores([30.0, 40.0], **{"x2/psnr_bicubic": [20.0, 30.0], "x2/psnr_ceiling": [40.0, 60.0]})
    assert summarise(crops)["x2/recovery"] == pytest.approx(recovery(35, 25, 50))
    assert intervals(crops)["x2/recovery"].value == pytest.approx(0.4)
    # Without one photograph it is 1 / 2 or 1 / 3.
    half = t.ppf(0.975, 1) * (1 / 2 - 1 / 3) / 2
    estimate = intervals(crops)["x2/recovery"]
    assert (estimate.low, estimate.high) == pytest.approx((0.4 - half, 0.4 + half))


def test_pairing_removes_what_the_photographs_have_in_common(values):
    better = [value + 0.1 for value in values]
    difference = paired_differences(scores(better)[::-1], scores(values))["x2/psnr"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same crops"):
        paired_differences(scores(values[1:]), scores(values))


def test_scores_survive_a_file(tmp_path, values):
    write_scores(tmp_path / "scores.json", scores(values))
    assert read_scores(tmp_path / "scores.json") == scores(values)


TIMES = 2000  # simulated experiments, each a metric of its own: one call computes all

LAWS = {
    "normal": lambda draw, shape: draw.normal(size=shape),
    "skewed": lambda draw, shape: draw.gamma(4, size=shape) - 4,  # skewness 1
    "heavy tails": lambda draw, shape: draw.standard_t(5, size=shape),
}


def simulated(draws, crops_of=None):
    """Return the scores of experiments (photographs, experiments), photograph n with `crops_of[n]` crops."""
    crops_of = [1] * len(draws) if crops_of is None else crops_of
    photos = np.repeat(np.arange(len(draws)), crops_of)
    return [
        CropScores(n, int(photo), {f"x{m}/psnr": value for m, value in enumerate(draws[photo].tolist())})
        for n, photo in enumerate(photos)
    ]


def share(estimates, test):
    return np.mean([test(estimate) for estimate in estimates.values()])


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("photos", [5, 10, 30])
def test_an_interval_covers_the_true_mean(photos, law):
    draw = np.random.default_rng(photos)
    estimates = intervals(simulated(LAWS[law](draw, (photos, TIMES))))
    assert share(estimates, lambda one: one.low <= 0 <= one.high) > 0.93


@pytest.mark.parametrize("photos", [5, 10, 30])
def test_the_interval_of_recovery_covers_it(photos):
    """Photographs differ by 4 dB in all rows, and by 1 dB in each; the true recovery is 1 / 4."""
    draw = np.random.default_rng(photos)
    common = draw.normal(0, 4, (photos, TIMES))
    rows = [30 + common + gain + draw.normal(size=common.shape) for gain in (2, 0, 8)]
    crops = []
    for photo in range(photos):
        values = {}
        for name, row in zip(("psnr", "psnr_bicubic", "psnr_ceiling"), rows, strict=True):
            values |= {f"x{m}/{name}": value for m, value in enumerate(row[photo].tolist())}
        crops.append(CropScores(photo, photo, values))
    found = {name: one for name, one in intervals(crops).items() if name.endswith("/recovery")}
    assert len(found) == TIMES
    assert share(found, lambda one: one.low <= 1 / 4 <= one.high) > 0.93


@pytest.mark.parametrize("photos", [5, 10])
def test_two_equal_adapters_are_seldom_told_apart(photos):
    """Photographs differ by 4 dB, and the adapters by 0.3 dB either way on each."""
    draw = np.random.default_rng(photos)
    theirs = draw.normal(30, 4, (photos, TIMES))
    ours = theirs + draw.normal(0, 0.3, theirs.shape)
    found = paired_differences(simulated(ours), simulated(theirs))
    assert share(found, lambda one: one.clear) < 0.06


@pytest.mark.parametrize(("photos", "trainings"), [(5, 2), (5, 3), (10, 5)])
@pytest.mark.parametrize("spread", [(0.3, 0.0), (0.0, 0.3), (0.2, 0.2)], ids=["photographs", "seeds", "both"])
def test_two_equal_variants_are_seldom_told_apart_over_seeds(photos, trainings, spread):
    draw = np.random.default_rng(photos + trainings)
    by_photo, by_seed = (
        draw.normal(0, deviation, (count, TIMES)) for deviation, count in zip(spread, (photos, trainings), strict=True)
    )
    theirs = draw.normal(30, 4, (photos, TIMES))
    ours = [theirs + by_photo + shift + draw.normal(0, 0.1, theirs.shape) for shift in by_seed]
    found = paired_differences_over_seeds([simulated(training) for training in ours], [simulated(theirs)] * trainings)
    assert share(found, lambda one: one.clear) < 0.06
