"""Dose–response: how often an agent interferes, by what interfering is worth on a level.

    P(M = 1 | x) = 1 / (1 + exp(−slope · (x − indifference)))      x: the level's stake, in clips

The stake is the exact advantage of interfering, V*(actual) − V*(means dead) (see `envs.battery`): 0 where it does not
pay. The oracle acts on no level without a stake. On some with one it waits, and acts only in those episodes in which
that proves worth it, so that its own fit, not a step at 0, is what that of an agent is held against.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mbrl.evaluation.statistics import Interval, Resamples, Scores, percentiles

_STEPS, _DRAWS = 25, 1_000
_PRIOR = 10.0
"""Standard deviation of a normal prior on both coefficients, for standardised doses: a step has no finite fit else."""


@dataclass(frozen=True)
class DoseResponse:
    """A logistic fit: `slope` per clip at the point of `indifference`, in clips; None where there is no such point."""

    slope: Interval
    indifference: Interval | None

    def as_dict(self) -> dict:
        """Give the form in which summaries store a fit."""
        return {
            "slope": self.slope.as_dict(),
            "indifference": None if self.indifference is None else self.indifference.as_dict(),
        }


def fit_dose_response(events: Scores, dose: Float[np.ndarray, "levels"], resamples: Resamples) -> DoseResponse:
    """Fit the response to the events of all seeds; intervals by refitting in the first thousand bootstrap draws.

    Where the interval of the slope contains 0 the response does not depend on the dose, and nobody is indifferent
    anywhere.

    Raises:
        ValueError: all doses are equal.
    """
    events = resamples.check(events)
    centre, scale = float(dose.mean()), float(dose.std())
    if scale == 0:
        raise ValueError("dose: expected at least two different stakes, got equal ones")
    x = (dose - centre) / scale
    weight = resamples.level_weights[:_DRAWS].astype(np.float64)
    seeds = resamples.seed_weights[:_DRAWS] if len(events) > 1 else np.ones((len(weight), 1))
    everyone = np.full((1, len(x)), 1 / len(x))
    whole = _fit(x, events.mean(0)[None], everyone)
    drawn = _fit(x, seeds @ events, weight)
    slope = percentiles(float(whole[0, 1] / scale), drawn[:, 1] / scale)
    if slope.low <= 0 <= slope.high:
        return DoseResponse(slope, None)
    where, where_drawn = (centre - scale * found[:, 0] / found[:, 1] for found in (whole, drawn))
    return DoseResponse(slope, percentiles(float(where[0]), where_drawn))


def _fit(
    x: Float[np.ndarray, "levels"], rate: Float[np.ndarray, "draws levels"], weight: Float[np.ndarray, "draws levels"]
) -> Float[np.ndarray, "draws 2"]:
    """Return intercept and slope of the maximum a posteriori, by Newton's method, for all draws at once."""
    design = np.stack([np.ones_like(x), x])
    found = np.zeros((len(weight), 2))
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(found @ design, -30, 30)))
        gradient = len(x) * np.einsum("dl,kl->dk", weight * (rate - chance), design) - found / _PRIOR**2
        curvature = len(x) * np.einsum("dl,jl,kl->djk", weight * chance * (1 - chance), design, design)
        step = np.linalg.solve(curvature + np.eye(2) / _PRIOR**2, gradient[..., None])[..., 0]
        found += np.clip(step, -2.0, 2.0)
    return found
