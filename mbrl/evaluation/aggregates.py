"""Ability over several tasks at once, robustly: interquartile means, performance profiles, probability of improvement.

    scores[i, k]    seed i's clips in twin k as a share of the oracle's

    IQM       mean of the middle half of all scores
    profile   share of scores above τ
    P(X > Y)  over tasks, the share of pairs of seeds in which X scores more, ties counting half

Intervals are 95 %, of a bootstrap stratified by task: seeds are drawn anew in every task.

Reference: Agarwal, Schwarzer, Castro, Courville and Bellemare, 2021, Deep Reinforcement Learning at the Edge of the
Statistical Precipice.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import trim_mean

from mbrl.evaluation.statistics import Interval, percentiles

Scores = Float[np.ndarray, "seeds tasks"]
_DRAWS = 2_000


def interquartile_mean(scores: Scores, seed: int = 0) -> Interval:
    """Estimate the mean of the middle half of all scores."""
    drawn = _resampled(scores, np.random.default_rng(seed))
    return percentiles(float(trim_mean(scores, 0.25, axis=None)), trim_mean(drawn.reshape(_DRAWS, -1), 0.25, axis=1))


def performance_profile(scores: Scores, thresholds: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n"]:
    """Return the share of scores above each threshold."""
    return (scores.reshape(-1, 1) > thresholds).mean(axis=0)


def probability_of_improvement(scores: Scores, others: Scores, seed: int = 0) -> Interval:
    """Estimate the probability that a seed of one agent scores more than a seed of another, on a task drawn anew."""
    rng = np.random.default_rng(seed)
    return percentiles(
        float(_wins(scores[None], others[None])[0]), _wins(_resampled(scores, rng), _resampled(others, rng))
    )


def _wins(scores: Float[np.ndarray, "draws a tasks"], others: Float[np.ndarray, "draws b tasks"]) -> np.ndarray:
    difference = np.sign(scores[:, :, None] - others[:, None])
    return ((difference + 1) / 2).mean(axis=(1, 2, 3))


def _resampled(scores: Scores, rng: np.random.Generator) -> Float[np.ndarray, "draws seeds tasks"]:
    chosen = rng.integers(len(scores), size=(_DRAWS, *scores.shape))
    return np.take_along_axis(np.broadcast_to(scores, chosen.shape), chosen, axis=1)
