"""Scores from comparisons in pairs: the Bradley-Terry model, and how far several judges agree."""

from collections.abc import Sequence

import numpy as np

PRIOR = 0.05
"""Weight of the penalty PRIOR / 2 * score^2, which keeps the scores finite where a method always wins."""
STEPS, LONGEST, TOLERANCE = 100, 2.0, 1e-9  # of Newton's method: iterations, largest move of a score, end


def bradley_terry(wins: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    """Return the scores that make the wins most likely: i beats j with probability 1 / (1 + exp(s_j - s_i)).

    The model is that of Bradley and Terry, doi 10.1093/biomet/39.3-4.324. Half a win each way stands for a draw.

    Args:
        wins: (..., M, M), how often the method of the row beats that of the column; not negative, diagonal 0.
        prior: Weight of the penalty `prior / 2 * score^2`; above 0.

    Returns:
        (..., M), with the mean 0.
    """
    wins = np.asarray(wins, dtype=float)
    met, won = wins + np.swapaxes(wins, -1, -2), wins.sum(-1)
    scores = np.zeros(wins.shape[:-1])
    diagonal = np.eye(wins.shape[-1])
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(scores[..., None, :] - scores[..., :, None]))
        slope = won - (met * chance).sum(-1) - prior * scores
        spread = met * chance * (1 - chance)
        curvature = diagonal * (spread.sum(-1) + prior)[..., None] - spread * (1 - diagonal)
        move = np.linalg.solve(curvature, slope[..., None])[..., 0]
        scores = scores + move.clip(-LONGEST, LONGEST)
        if np.abs(move).max(initial=0) < TOLERANCE:
            break
    return scores - scores.mean(-1, keepdims=True)


def win_rates(wins: np.ndarray) -> np.ndarray:
    """Return the share of its comparisons that each method won, (..., M), NaN for one that had none; see above."""
    wins = np.asarray(wins, dtype=float)
    won, lost = wins.sum(-1), wins.sum(-2)
    with np.errstate(invalid="ignore"):
        return won / (won + lost)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float:
    """Return Krippendorff's alpha for names: 1 where judges always agree, 0 where they agree as often as by chance.

    The formula is that of *Computing Krippendorff's Alpha-Reliability* (2011), for nominal data with missing values.

    Args:
        units: For each thing judged, the judgements of those who judged it; a single judgement counts for nothing.

    Returns:
        The coefficient; NaN where nothing was judged twice, or where all judgements are the same name.
    """
    names = sorted({name for unit in units for name in unit})
    pairs = np.zeros((len(names), len(names)))
    for unit in units:
        if len(unit) > 1:
            counts = np.array([unit.count(name) for name in names], dtype=float)
            pairs += (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    totals = pairs.sum(0)
    whole = totals.sum()
    expected = whole**2 - (totals**2).sum()
    if not expected:
        return float("nan")
    return float(1 - (whole - 1) * (whole - np.trace(pairs)) / expected)
