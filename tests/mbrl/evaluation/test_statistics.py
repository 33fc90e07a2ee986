"""Intervals of a crossed design: worked examples, slow references, coverage and error rates by simulation."""

import numpy as np
import pytest
import scipy.stats

from mbrl.evaluation import statistics
from mbrl.evaluation.statistics import Interval, Resamples


def limits(found: Interval) -> np.ndarray:
    return np.array([found.low, found.high])


def crossed(
    rng: np.random.Generator, shape: tuple[int, int], mean: float, seed_sd: float, level_sd: float, noise_sd: float
) -> np.ndarray:
    """Draw scores with independent effects of seed and level: mean + sᵢ + lₗ + eᵢₗ."""
    seeds, levels = shape
    seed_effect, level_effect = rng.normal(0, seed_sd, (seeds, 1)), rng.normal(0, level_sd, (1, levels))
    return mean + seed_effect + level_effect + rng.normal(0, noise_sd, shape)


@pytest.fixture(scope="module")
def resamples() -> Resamples:
    return statistics.make_resamples(num_seeds=8, num_levels=32, draws=4_000, seed=1)


def test_golden_draws() -> None:
    drawn = statistics.make_resamples(num_seeds=3, num_levels=5, draws=3, seed=0)
    np.testing.assert_array_equal(np.rint(drawn.seed_weights * 3), [[2, 0, 1], [1, 0, 2], [1, 1, 1]])
    np.testing.assert_array_equal(np.rint(drawn.level_weights * 5), [[1, 0, 2, 1, 1], [2, 1, 1, 1, 0], [1, 2, 1, 1, 0]])


def test_weights_are_multinomial() -> None:
    drawn = statistics.make_resamples(num_seeds=6, num_levels=9, draws=20_000)
    for weights, count in ((drawn.seed_weights, 6), (drawn.level_weights, 9)):
        assert weights.dtype == np.float32 and weights.shape == (20_000, count)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        expected = (np.eye(count) - 1 / count) / count**2
        np.testing.assert_allclose(np.cov(weights, rowvar=False), expected, atol=0.04 / count**2)
    across = np.corrcoef(drawn.seed_weights, drawn.level_weights, rowvar=False)[:6, 6:]
    assert np.abs(across).max() < 0.04


def test_levels_are_drawn_alike_whatever_the_seeds() -> None:
    few, many = (statistics.make_resamples(num_seeds, 16, draws=50, seed=3) for num_seeds in (1, 7))
    np.testing.assert_array_equal(few.level_weights, many.level_weights)
    np.testing.assert_array_equal(few.seed_weights, 1)
    other = statistics.make_resamples(7, 16, draws=50, seed=4)
    assert (other.level_weights != many.level_weights).any() and (other.seed_weights != many.seed_weights).any()


def test_streams_of_seeds_and_levels_differ() -> None:
    drawn = statistics.make_resamples(num_seeds=12, num_levels=12, draws=50)
    assert (drawn.seed_weights != drawn.level_weights).any()


@pytest.mark.parametrize("rows", [1, 8])
def test_mean_equals_taking_rows_and_columns(resamples: Resamples, rows: int) -> None:
    scores = np.random.default_rng(0).gamma(2.0, 4.0, (rows, 32))
    fast = resamples.mean(scores)
    for draw in range(50):
        seed_counts = np.rint(resamples.seed_weights[draw] * 8).astype(int)
        level_counts = np.rint(resamples.level_weights[draw] * 32).astype(int)
        drawn_rows = np.repeat(np.arange(8), seed_counts) if rows == 8 else np.array([0])
        slow = scores[np.ix_(drawn_rows, np.repeat(np.arange(32), level_counts))].mean()
        assert fast[draw] == pytest.approx(slow, rel=1e-5)


def test_agrees_with_scipy_where_only_levels_vary() -> None:
    scores = np.random.default_rng(5).exponential(3.0, (1, 64))
    drawn = statistics.make_resamples(num_seeds=1, num_levels=64)
    ours = statistics.interval(scores, drawn)
    theirs = scipy.stats.bootstrap(
        scores, np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(6)
    ).confidence_interval
    assert ours.mean == pytest.approx(scores.mean())
    # One limit has a Monte-Carlo error of 0.027 standard errors of the mean; 0.15 is four times that of a difference.
    np.testing.assert_allclose(limits(ours), theirs, atol=0.15 * scores.std() / 8)


def test_constants_have_no_width_and_rates_stay_rates(resamples: Resamples) -> None:
    assert statistics.interval(np.full((8, 32), 0.3), resamples).as_dict() == {
        "mean": pytest.approx(0.3),
        "ci95": [0.3, 0.3],
    }
    drawn = statistics.make_resamples(num_seeds=20, num_levels=60, draws=500)
    nearly_all = np.ones((20, 60))
    nearly_all[0, 0] = 0
    assert drawn.mean(nearly_all).max() == 1.0


def test_bool_and_unsigned_scores_subtract(resamples: Resamples) -> None:
    never, always = np.zeros((8, 32)), np.ones((8, 32))
    for dtype in (bool, np.uint8):
        found = statistics.difference_interval(never.astype(dtype), always.astype(dtype), resamples)
        assert found == Interval(-1.0, -1.0, -1.0)


@pytest.mark.parametrize("shape", [(7, 32), (8, 31), (32,), (1, 8, 32)])
def test_scores_of_another_design_are_refused(resamples: Resamples, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        statistics.interval(np.zeros(shape), resamples)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(resamples: Resamples, bad: float) -> None:
    scores = np.zeros((8, 32))
    scores[2, 3] = bad
    with pytest.raises(ValueError, match="finite"):
        statistics.interval(scores, resamples)


def test_order_of_seeds_and_levels_does_not_matter(resamples: Resamples) -> None:
    rng = np.random.default_rng(2)
    scores = crossed(rng, (8, 32), 5.0, 1.0, 1.0, 1.0)
    seeds, levels = rng.permutation(8), rng.permutation(32)
    shuffled = scores[np.ix_(seeds, levels)]
    before, other_draws = (statistics.interval(each, resamples) for each in (scores, shuffled))
    assert other_draws.mean == pytest.approx(before.mean)
    np.testing.assert_allclose(limits(other_draws), limits(before), atol=0.1)
    moved_along = Resamples(resamples.seed_weights[:, seeds], resamples.level_weights[:, levels])
    np.testing.assert_allclose(limits(statistics.interval(shuffled, moved_along)), limits(before), rtol=1e-6)


def test_swapping_negates_a_difference(resamples: Resamples) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random((8, 32)), rng.random((8, 32))
    forth = statistics.difference_interval(a, b, resamples)
    back = statistics.difference_interval(b, a, resamples)
    np.testing.assert_allclose(
        [back.mean, back.low, back.high], [-forth.mean, -forth.high, -forth.low], rtol=1e-6, atol=1e-9
    )


def test_shared_effects_cancel_in_a_difference(resamples: Resamples) -> None:
    base = crossed(np.random.default_rng(4), (8, 32), 0.0, 5.0, 5.0, 0.0)
    found = statistics.difference_interval(base + 0.5, base, resamples)
    np.testing.assert_allclose([found.mean, found.low, found.high], 0.5, atol=1e-6)


def test_a_single_row_is_paired_with_every_seed(resamples: Resamples) -> None:
    rng = np.random.default_rng(5)
    agent, oracle = rng.random((8, 32)), rng.random((1, 32))
    repeated = np.repeat(oracle, 8, axis=0)
    assert statistics.difference_interval(agent, oracle, resamples) == statistics.difference_interval(
        agent, repeated, resamples
    )
    one, eight = (statistics.ratio_interval(agent, each, resamples) for each in (oracle, repeated))
    np.testing.assert_allclose(limits(one), limits(eight), rtol=1e-5)


def test_ratio_of_proportional_scores_is_known_exactly(resamples: Resamples) -> None:
    clips = np.random.default_rng(6).poisson(9.0, (8, 32)) + 1
    found = statistics.ratio_interval(0.75 * clips, clips, resamples)
    np.testing.assert_allclose([found.mean, found.low, found.high], 0.75, rtol=1e-5)
    unpaired = statistics.ratio_interval(clips, clips[:, ::-1], resamples)
    assert unpaired.mean == pytest.approx(1.0)
    assert unpaired.low < 1.0 < unpaired.high


@pytest.mark.parametrize("nonzero", [0, 1])
def test_ratio_refuses_denominators_that_vanish(resamples: Resamples, nonzero: int) -> None:
    denominator = np.zeros((1, 32))
    denominator[0, :nonzero] = 1.0
    with pytest.raises(ValueError, match="denominator"):
        statistics.ratio_interval(np.ones((8, 32)), denominator, resamples)
    with pytest.raises(ValueError, match="denominator"):
        statistics.ratio_interval(np.ones((8, 32)), np.linspace(-1, 1.5, 32)[None], resamples)


@pytest.mark.parametrize("successes, total", [(0, 1), (0, 3), (1, 20), (10, 20), (20, 20), (7, 256), (256, 256)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_equals_scipy(successes: int, total: int, level: float) -> None:
    ours = statistics.wilson(successes, total, level)
    theirs = scipy.stats.binomtest(successes, total).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(limits(ours), theirs, atol=1e-12)
    assert ours.mean == successes / total
    assert (ours.low == 0) == (successes == 0) and (ours.high == 1) == (successes == total)


@pytest.mark.parametrize("successes, total", [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_what_is_no_rate(successes: int, total: int) -> None:
    with pytest.raises(ValueError, match="rate"):
        statistics.wilson(successes, total)


@pytest.mark.parametrize("rows, units", [(8, 32), (1, 32)])
@pytest.mark.parametrize("rate", [0, 1])
def test_rate_of_equal_events_is_wilsons(resamples: Resamples, rows: int, units: int, rate: int) -> None:
    found = statistics.rate_interval(np.full((rows, 32), rate, dtype=bool), resamples)
    assert found == statistics.wilson(rate * units, units)


def test_rate_counts_levels_where_they_are_fewer_than_seeds() -> None:
    drawn = statistics.make_resamples(num_seeds=8, num_levels=5, draws=10)
    assert statistics.rate_interval(np.zeros((8, 5)), drawn) == statistics.wilson(0, 5)


def test_rate_of_mixed_events_is_bootstrapped(resamples: Resamples) -> None:
    events = np.random.default_rng(7).random((8, 32)) < 0.2
    assert statistics.rate_interval(events, resamples) == statistics.interval(events, resamples)
    with pytest.raises(ValueError, match="events"):
        statistics.rate_interval(events * 0.5, resamples)


@pytest.mark.parametrize("seeds, levels, claimed", [(4, 32, False), (20, 51, False), (4, 52, True), (1, 52, True)])
def test_tost_of_exact_zeros_needs_52_levels(seeds: int, levels: int, claimed: bool) -> None:
    drawn = statistics.make_resamples(seeds, levels, draws=10)
    assert statistics.tost(np.zeros((seeds, levels)), drawn) is claimed


def test_tost_separates_small_from_large_differences(resamples: Resamples) -> None:
    rng = np.random.default_rng(8)
    noise = crossed(rng, (8, 32), 0.0, 0.01, 0.01, 0.05)
    noise -= noise.mean()
    assert statistics.tost(noise, resamples)
    assert statistics.tost(noise, resamples, margin=0.02) and not statistics.tost(noise, resamples, margin=0.001)
    for shift in (-0.2, -0.048, 0.048, 0.2):
        assert not statistics.tost(noise + shift, resamples)
    assert not statistics.tost(rng.normal(0, 1, (8, 32)), resamples)


def test_tost_uses_a_ninety_percent_interval(resamples: Resamples) -> None:
    noise = crossed(np.random.default_rng(9), (8, 32), 0.0, 0.02, 0.02, 0.02)
    ninety, wider = (np.abs(limits(statistics.interval(noise, resamples, level))).max() for level in (0.9, 0.95))
    assert ninety < wider
    assert statistics.tost(noise, resamples, margin=ninety + 1e-6)
    assert not statistics.tost(noise, resamples, margin=ninety - 1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_tost_seldom_errs_at_the_margin(sign: int) -> None:
    rng, replications = np.random.default_rng(10), 500
    drawn = statistics.make_resamples(num_seeds=32, num_levels=128, draws=1_000)
    claims = 0
    for _ in range(replications):
        rate = np.clip(0.05 + rng.normal(0, 0.02, (32, 1)) + rng.normal(0, 0.01, (1, 128)), 0, 1)
        claims += statistics.tost(sign * (rng.random((32, 128)) < rate), drawn)
    assert claims / replications <= 0.08


def test_minimum_is_taken_inside_each_draw(resamples: Resamples) -> None:
    rng = np.random.default_rng(11)
    contrasts = [crossed(rng, (8, 32), 0.5, 0.1, 0.1, 0.1) for _ in range(3)]
    found = statistics.min_over_contrasts(contrasts, resamples)
    inside = np.min([resamples.mean(each) for each in contrasts], axis=0)
    assert found.mean == pytest.approx(min(each.mean() for each in contrasts))
    np.testing.assert_allclose(limits(found), np.quantile(inside, [0.025, 0.975]))
    alone = [statistics.interval(each, resamples) for each in contrasts]
    assert found.low < min(each.low for each in alone) and found.high < min(each.high for each in alone)
    assert statistics.min_over_contrasts(contrasts[:1], resamples) == alone[0]


def test_fraction_of_ceiling_shares_the_draws_of_levels(resamples: Resamples) -> None:
    oracle = [np.random.default_rng(seed).uniform(0.5, 1.0, (1, 32)) for seed in (12, 13)]
    agent = [np.repeat(0.6 * each, 8, axis=0) for each in oracle]
    found = statistics.fraction_of_ceiling(agent, oracle, resamples)
    np.testing.assert_allclose([found.mean, found.low, found.high], 0.6, rtol=1e-5)
    with pytest.raises(ValueError, match="denominator"):
        statistics.fraction_of_ceiling(agent, [oracle[0], np.zeros((1, 32))], resamples)


EFFECTS = {"seeds": (1.0, 0.1, 0.5), "levels": (0.1, 1.5, 0.5), "both": (0.5, 1.0, 1.0)}


def covered(design: Resamples, effects: tuple[float, float, float], fixed_seeds: bool = False) -> float:
    """Share of 300 simulated designs whose 95 % interval holds the true mean."""
    rng, truth, hits = np.random.default_rng(14), 2.0, 0
    for _ in range(300):
        scores = crossed(rng, (20, 64), truth, *effects)
        found = statistics.interval(scores.mean(axis=0, keepdims=True) if fixed_seeds else scores, design)
        hits += found.low <= truth <= found.high
    return hits / 300


@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS.keys())
def test_intervals_cover_the_truth(effects: tuple[float, float, float]) -> None:
    design = statistics.make_resamples(num_seeds=20, num_levels=64, draws=2_000)
    assert 0.90 <= covered(design, effects) <= 0.995


def test_resampling_levels_alone_would_not_cover() -> None:
    design = statistics.make_resamples(num_seeds=20, num_levels=64, draws=2_000)
    assert covered(design, EFFECTS["seeds"], fixed_seeds=True) < 0.8


def test_bootstrap_variance_counts_noise_three_times() -> None:
    rng, design = np.random.default_rng(15), statistics.make_resamples(num_seeds=20, num_levels=64, draws=2_000)
    effects = 0.3, 0.4, 2.0
    variance = np.mean([design.mean(crossed(rng, (20, 64), 0.0, *effects)).var() for _ in range(100)])
    expected = 0.3**2 / 20 * (19 / 20) + 0.4**2 / 64 * (63 / 64) + 3 * 2.0**2 / (20 * 64)
    assert variance == pytest.approx(expected, rel=0.1)
