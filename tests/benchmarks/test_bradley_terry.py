"""Scores from comparisons, against scipy, scikit-learn and a published example."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from benchmarks.bradley_terry import PRIOR, bradley_terry, krippendorff_alpha, win_rates


def simulated(strengths, games, seed=0):
    """Return the wins of methods with known strengths, (M, M): every pair meets `games` times."""
    draw = np.random.default_rng(seed)
    strengths = np.asarray(strengths, dtype=float)
    wins = np.zeros((len(strengths), len(strengths)))
    for one in range(len(strengths)):
        for other in range(one + 1, len(strengths)):
            chance = 1 / (1 + np.exp(strengths[other] - strengths[one]))
            wins[one, other] = draw.binomial(games, chance)
            wins[other, one] = games - wins[one, other]
    return wins


def test_many_games_recover_the_strengths():
    strengths = np.array([-1.5, -0.5, 0.0, 0.4, 1.6])
    np.testing.assert_allclose(bradley_terry(simulated(strengths, 20_000)), strengths, atol=0.05)


@pytest.mark.parametrize("prior", [PRIOR, 1.0])
def test_the_scores_are_those_of_a_logistic_regression(prior):
    wins = simulated([-1.0, 0.0, 0.3, 0.7], 12, seed=3)
    rows, targets = [], []
    for winner, loser in zip(*np.nonzero(wins), strict=True):
        row = np.zeros(4)
        row[winner], row[loser] = 1, -1
        for _ in range(int(wins[winner, loser])):
            rows += [row, -row]
            targets += [1, 0]
    # Each game stands there twice, from both sides, so the penalty counts double.
    reference = LogisticRegression(C=0.5 / prior, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(rows, targets)
    np.testing.assert_allclose(bradley_terry(wins, prior), reference.coef_[0], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_no_other_scores_are_more_likely(seed):
    draw = np.random.default_rng(seed)
    wins = draw.integers(0, 40, (6, 6)) * draw.integers(0, 2, (6, 6)) * (1 - np.eye(6))

    def cost(scores):
        margins = scores[:, None] - scores[None]
        return (wins * np.log1p(np.exp(-margins))).sum() + PRIOR / 2 * (scores**2).sum()

    np.testing.assert_allclose(bradley_terry(wins), minimize(cost, np.zeros(6), tol=1e-12).x, atol=1e-3)


def test_a_method_that_always_wins_has_a_finite_score():
    better, worse = bradley_terry(np.array([[0.0, 500.0], [0.0, 0.0]]))
    assert better == pytest.approx(-worse)
    assert 500 / (1 + math.exp(better - worse)) == pytest.approx(PRIOR * better)  # where likelihood and penalty balance


def test_many_tables_at_once_are_each_solved_alone():
    tables = np.stack([simulated([0, 1, 2], 30, seed) for seed in range(5)])
    np.testing.assert_allclose(bradley_terry(tables), [bradley_terry(table) for table in tables], atol=1e-7)


def test_a_draw_is_half_a_win_each_way():
    np.testing.assert_allclose(bradley_terry([[0, 5.0], [5.0, 0]]), [0, 0], atol=1e-12)
    assert win_rates(np.array([[0, 3.0, 1], [1, 0, 0], [0, 0, 0]]))[:2].tolist() == [1 - 1 / 5, 1 / 4]
    assert math.isnan(win_rates(np.zeros((2, 2)))[0])


def test_alpha_is_that_of_the_published_example():
    """Three judges and fifteen things, with gaps: nominal alpha 0.691 (Krippendorff's example with missing values)."""
    judges = [
        "*****34121133*3",
        "1*213343*******",
        "**21344*21133*4",
    ]
    units = [[value for value in column if value != "*"] for column in zip(*judges, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.691, abs=5e-4)


def test_alpha_of_perfect_and_of_accidental_agreement():
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    draw = np.random.default_rng(0)
    assert abs(krippendorff_alpha(draw.choice(["a", "b"], (4000, 2)).tolist())) < 0.05
    assert math.isnan(krippendorff_alpha([["a"], ["b"]]))
