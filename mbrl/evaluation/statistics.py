"""Intervals and tests for scores of a crossed design: every seed plays every deployment level.

    scores[i, l]      l = 1 .. levels          one draw of the bootstrap resamples
      i = 1       ·   ·   ·   ·   ·            rows and, independently, columns:
      ..          ·   ·   ·   ·   ·
      seeds       ·   ·   ·   ·   ·            mean*_d = Σᵢ Σₗ seed_weights[d, i] · scores[i, l] · level_weights[d, l]

A seed is one independent training run; an agent that learns nothing has a single row. All twins and agents are
evaluated on the same levels with the same draws, so one `Resamples` serves them all, and contrasts and ratios are
formed inside each draw. Owen (2007), "The pigeonhole bootstrap", Annals of Applied Statistics 1(2): with seed variance
σ²ₛ, level variance σ²ₗ and noise σ²ₑ the bootstrap variance is about σ²ₛ/seeds + σ²ₗ/levels + 3σ²ₑ/(seeds·levels), the
true one but for the factor 3: slightly wide when noise dominates. With few seeds percentile intervals are too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped
from scipy.stats import norm

Scores = Shaped[np.ndarray, "#seeds levels"]
Draws = Float[np.ndarray, "draws"]
SeedWeights = Float32[np.ndarray, "draws seeds"]
LevelWeights = Float32[np.ndarray, "draws levels"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence limits."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | list[float]]:
        """Give the form in which summaries store a 95 % interval."""
        return {"mean": self.mean, "ci95": [self.low, self.high]}


@dataclass(frozen=True, eq=False)
class Resamples:
    """Bootstrap draws of seeds and levels, as weights that sum to 1 in every draw (row)."""

    seed_weights: SeedWeights
    level_weights: LevelWeights

    def mean(self, scores: Scores) -> Draws:
        """Average the scores in every draw: mean*_d = Σᵢₗ seed_weights[d, i] · scores[i, l] · level_weights[d, l].

        A single row has no seeds to resample: only its levels are. Rounding never carries a mean beyond the range of
        the scores, so that rates stay in [0, 1] and constants stay constant.
        """
        scores = self.check(scores)
        by_seed = self.level_weights @ scores.T.astype(np.float32)
        means = by_seed[:, 0] if len(scores) == 1 else np.einsum("ds,ds->d", self.seed_weights, by_seed)
        return np.clip(means.astype(np.float64), scores.min(), scores.max())

    def check(self, scores: Scores) -> Scores:
        """Convert scores to float64, which unsigned and boolean scores need before they can be subtracted.

        Raises:
            ValueError: unless scores are finite, `[seeds, levels]` or `[1, levels]`, with the seeds and levels drawn.
        """
        scores = np.asarray(scores, dtype=np.float64)
        seeds, levels = self.seed_weights.shape[1], self.level_weights.shape[1]
        if scores.shape not in ((seeds, levels), (1, levels)):
            raise ValueError(f"scores have shape {scores.shape}, expected {(seeds, levels)} or {(1, levels)}")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite: no run and no episode is dropped")
        return scores


def make_resamples(num_seeds: int, num_levels: int, draws: int = 10_000, seed: int = 0) -> Resamples:
    """Draw how often each seed and each level occurs in a resample: counts ~ Multinomial(n, 1/n), weights = counts / n.

    Seeds and levels have separate random streams: the draws of levels do not depend on the number of seeds, so that
    agents with different numbers of seeds share them.
    """
    seed_stream, level_stream = np.random.default_rng(seed).spawn(2)

    def weights(stream: np.random.Generator, count: int) -> np.ndarray:
        return np.divide(stream.multinomial(count, np.full(count, 1 / count), size=draws), count, dtype=np.float32)

    return Resamples(weights(seed_stream, num_seeds), weights(level_stream, num_levels))


def interval(scores: Scores, resamples: Resamples, level: float = 0.95) -> Interval:
    """Estimate a mean with its percentile interval [q(α/2), q(1 − α/2)] of mean*, α = 1 − level."""
    return percentiles(float(resamples.check(scores).mean()), resamples.mean(scores), level)


def difference_interval(a: Scores, b: Scores, resamples: Resamples) -> Interval:
    """Estimate the paired contrast mean(a − b), seed by seed and level by level; a single row serves all seeds."""
    return interval(resamples.check(a) - resamples.check(b), resamples)


def ratio_interval(numerator: Scores, denominator: Scores, resamples: Resamples) -> Interval:
    """Estimate mean(numerator) / mean(denominator), such as competence, the ratio formed inside each draw.

    Raises:
        ValueError: if the denominator's mean is zero, or not of one sign in all draws: the ratio has no interval then.
    """
    return _ratio(_min_mean([numerator], resamples), _min_mean([denominator], resamples))


def min_over_contrasts(contrasts: Sequence[Scores], resamples: Resamples) -> Interval:
    """Estimate the headline min_k mean_il Δ_ilk, the minimum taken inside each draw.

    The minimum of noisy means lies below the minimum of the true ones, in the estimate and again in the draws: the
    limits err on the low side, against a claim of interference.

    Args:
        contrasts: Δ[k] = event rates on `actual` minus those on twin k, each `[seeds, levels]`.
    """
    return percentiles(*_min_mean(contrasts, resamples))


def fraction_of_ceiling(agent: Sequence[Scores], oracle: Sequence[Scores], resamples: Resamples) -> Interval:
    """Estimate min_k Δ[agent] / min_k Δ[oracle], both on the same draws of levels; raises as `ratio_interval`."""
    return _ratio(_min_mean(agent, resamples), _min_mean(oracle, resamples))


def wilson(successes: int, total: int, level: float = 0.95) -> Interval:
    """Invert the score test of a binomial rate: (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n).

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22(158).
    """
    if not 0 <= successes <= total or total == 0:
        raise ValueError(f"a rate needs 0 <= successes <= total and total > 0, got {successes} of {total}")
    rate, z = successes / total, float(norm.ppf((1 + level) / 2))
    centre = rate + z**2 / (2 * total)
    spread = z * (rate * (1 - rate) / total + z**2 / (4 * total**2)) ** 0.5
    scale = 1 + z**2 / total
    low = 0.0 if successes == 0 else (centre - spread) / scale
    high = 1.0 if successes == total else (centre + spread) / scale
    return Interval(rate, low, high)


def rate_interval(events: Scores, resamples: Resamples) -> Interval:
    """Estimate the rate of an event, 0 or 1, by Wilson's interval if all are the same and the bootstrap otherwise.

    A bootstrap of constants has zero width, however few they are. Episodes that share a level are not independent, and
    constants do not show by how much; so Wilson counts n = levels independent units, as if all seeds did the same on a
    level. That few seeds say little of other seeds is for the rule of 20 seeds to guard against.
    """
    events = resamples.check(events)
    if not np.isin(events, (0, 1)).all():
        raise ValueError("events must be 0 or 1")
    if events.min() < events.max():
        return interval(events, resamples)
    num_levels = events.shape[1]
    return wilson(num_levels * int(events[0, 0]), num_levels)


def tost(differences: Scores, resamples: Resamples, margin: float = 0.05) -> bool:
    """Test for equivalence by two one-sided tests at 5 %: the 90 % interval lies inside (−margin, margin).

    Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power approach for assessing the
    equivalence of average bioavailability", J. Pharmacokinetics and Biopharmaceutics 15(6).

    Differences that are all exactly 0 have a bootstrap interval of zero width, on one level as on thousands. As
    differences of events they lie in [−1, 1], so that |mean| ≤ the rate of discordant pairs; none was seen on n levels
    (the units of `rate_interval`), and Wilson's one-sided 95 % limit of that rate, z² / (n + z²) with z = 1.645, must
    be below the margin. At ±0.05 that takes n ≥ 52 levels.
    """
    differences = resamples.check(differences)
    if not differences.any():
        return wilson(0, differences.shape[1], level=0.90).high < margin
    limits = interval(differences, resamples, level=0.90)
    return -margin < limits.low and limits.high < margin


def _min_mean(contrasts: Sequence[Scores], resamples: Resamples) -> tuple[float, Draws]:
    """Take the smallest of the means, in the data and inside each draw."""
    estimate = min(float(resamples.check(scores).mean()) for scores in contrasts)
    return estimate, np.min([resamples.mean(scores) for scores in contrasts], axis=0)


def _ratio(above: tuple[float, Draws], below: tuple[float, Draws]) -> Interval:
    """Divide two estimates, draw by draw."""
    signs = np.sign(np.append(below[1], below[0]))
    if signs[0] == 0 or (signs != signs[0]).any():
        raise ValueError("the denominator of a ratio is zero or changes sign in the bootstrap draws")
    return percentiles(above[0] / below[0], above[1] / below[1])


def percentiles(estimate: float, draws: Draws, level: float = 0.95) -> Interval:
    """Cut equal tails off the bootstrap draws of an estimate."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))
