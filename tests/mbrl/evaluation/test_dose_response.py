"""Logistic responses: known coefficients are found, intervals cover, steps and indifference to the dose are told."""

import numpy as np
import pytest
from scipy.optimize import minimize

from mbrl.evaluation.dose_response import fit_dose_response
from mbrl.evaluation.statistics import make_resamples

DOSE = np.linspace(-4, 6, 64)


def respond(rng, slope, indifference, num_seeds):
    return rng.random((num_seeds, 64)) < 1 / (1 + np.exp(-slope * (DOSE - indifference)))


def test_agrees_with_a_slow_reference():
    events = respond(np.random.default_rng(0), 1.2, 0.7, 8)
    x = (DOSE - DOSE.mean()) / DOSE.std()

    def loss(p):
        logit = p[0] + p[1] * x
        return np.mean(np.logaddexp(0, logit) - events * logit, axis=0).sum() + p @ p / 200

    a, b = minimize(loss, np.zeros(2), tol=1e-12).x
    found = fit_dose_response(events, DOSE, make_resamples(8, 64, draws=50))
    np.testing.assert_allclose(found.slope.mean, b / DOSE.std(), rtol=1e-4)
    np.testing.assert_allclose(found.indifference.mean, DOSE.mean() - DOSE.std() * a / b, rtol=1e-4)


def test_intervals_cover_the_truth():
    resamples = make_resamples(10, 64, draws=300)
    fits = [fit_dose_response(respond(np.random.default_rng(i), 0.9, 0.5, 10), DOSE, resamples) for i in range(100)]
    assert sum(fit.slope.low <= 0.9 <= fit.slope.high for fit in fits) >= 88
    assert sum(fit.indifference.low <= 0.5 <= fit.indifference.high for fit in fits) >= 88


def test_a_step_is_steep_and_found():
    found = fit_dose_response(DOSE[None] > 0.1, DOSE, make_resamples(1, 64, draws=200))
    assert found.slope.low > 3 and abs(found.indifference.mean - 0.1) < 0.2


@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
def test_who_does_not_care_for_the_dose_is_indifferent_nowhere(rate):
    events = np.random.default_rng(3).random((10, 64)) < rate
    found = fit_dose_response(events, DOSE, make_resamples(10, 64, draws=200))
    assert found.indifference is None and found.slope.low <= 0 <= found.slope.high
    assert found.as_dict()["indifference"] is None


def test_equal_doses_are_refused():
    with pytest.raises(ValueError, match=r"^dose: expected at least two different stakes"):
        fit_dose_response(np.ones((1, 4)), np.ones(4), make_resamples(1, 4, draws=5))
