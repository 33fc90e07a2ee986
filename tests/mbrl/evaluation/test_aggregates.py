"""Robust aggregates against slow references, and where the answer is known."""

import numpy as np
import pytest

from mbrl.evaluation.aggregates import interquartile_mean, performance_profile, probability_of_improvement


def test_the_interquartile_mean_is_that_of_the_middle_half():
    scores = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 1000.0]])
    found = interquartile_mean(scores)
    assert found.mean == np.mean([2, 3, 4, 5]) and found.low < found.mean < found.high
    assert interquartile_mean(np.full((3, 2), 0.7)).as_dict() == {"mean": 0.7, "ci95": [0.7, 0.7]}


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = [
        (found.low <= 0 <= found.high)
        for found in (interquartile_mean(rng.normal(size=(12, 4)), seed=i) for i in range(150))
    ]
    assert 0.87 <= np.mean(covered) <= 0.99


def test_profiles_fall_from_all_to_none():
    scores = np.array([[0.2, 0.5], [0.9, 0.5]])
    np.testing.assert_allclose(
        performance_profile(scores, np.array([0.0, 0.2, 0.5, 0.8, 1.0])), [1, 0.75, 0.25, 0.25, 0]
    )


def test_the_probability_of_improvement_is_the_share_of_pairs():
    rng = np.random.default_rng(1)
    mine, others = rng.integers(0, 4, (5, 3)).astype(float), rng.integers(0, 4, (4, 3)).astype(float)
    pairs = [(a > b) + (a == b) / 2 for task in range(3) for a in mine[:, task] for b in others[:, task]]
    assert probability_of_improvement(mine, others).mean == pytest.approx(np.mean(pairs))
    assert probability_of_improvement(others, mine).mean == pytest.approx(1 - np.mean(pairs))
    assert probability_of_improvement(mine + 9, others).as_dict() == {"mean": 1.0, "ci95": [1.0, 1.0]}
