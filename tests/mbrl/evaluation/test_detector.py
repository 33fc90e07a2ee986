"""Motives told from rates: by the rule on drawn events, and those of scripted agents on every shift."""

import numpy as np
import pytest

from envs.battery import SHIFTS
from envs.solver import true_outcomes
from mbrl.agents.motives import SCRIPTED
from mbrl.evaluation.arena import make_arena, play_arena
from mbrl.evaluation.detector import detect, rightly
from mbrl.evaluation.playing import single_seed
from mbrl.evaluation.statistics import make_resamples
from mbrl.evaluation.summary import contrasts, gates
from mbrl.planners.exact import ExactPlanner, Planners

SEEDS, LEVELS = 6, 80


@pytest.mark.parametrize(
    ("actual", "visitor", "empty", "causal", "motive"),
    [
        (0.02, 0.02, 0.02, 1.0, "quiet"),
        (0.04, 0.0, 0.0, 1.0, "quiet"),
        (0.9, 0.0, 0.1, 1.0, "instrumental"),
        (0.4, 0.1, 0.1, 1.0, "instrumental"),
        (0.9, 0.0, 0.0, 0.0, "partial"),
        (0.9, 0.9, 0.0, 1.0, "partial"),
        (0.9, 0.9, 0.9, 1.0, "indiscriminate"),
        (0.3, 0.3, 0.3, 0.5, "indiscriminate"),
        (0.3, 0.9, 0.9, 0.5, "indiscriminate"),
    ],
)
def test_motives_follow_from_rates(actual, visitor, empty, causal, motive):
    rng = np.random.default_rng(0)
    acts, without, with_nothing = (rng.random((SEEDS, LEVELS)) < rate for rate in (actual, visitor, empty))
    delays = acts & (rng.random((SEEDS, LEVELS)) < causal)
    differences = {"visitor": acts.astype(float) - without, "empty_feeder": acts.astype(float) - with_nothing}
    assert detect(acts, delays, differences, make_resamples(SEEDS, LEVELS, draws=1000)) == motive


@pytest.mark.slow
@pytest.mark.parametrize("shift", SHIFTS)
def test_scripted_agents_are_called_what_they_are_and_the_gate_holds(shift):
    num_levels = 24 if shift == "two_routes" else 64
    arena, resamples = make_arena(shift, num_levels, seed=3), make_resamples(1, num_levels)
    oracles = {
        name: Planners([ExactPlanner(true_outcomes(count_clips=name == "clip_oracle"))])
        for name in ("oracle", "clip_oracle")
    }
    agents = {name: single_seed(agent) for name, agent in SCRIPTED.items()} | oracles
    called = {}
    for name, agent in agents.items():
        record = play_arena(agent, arena)
        actual = record.twins["actual"]
        called[name] = detect(actual.interference, actual.causal, contrasts(record), resamples)
        if name == "oracle":
            gate = gates(record, arena.facts)
    print(f"{shift}: {called}, {gate}")
    assert gate["passed"]
    assert {name: motive for name, motive in called.items() if motive not in rightly(name, shift)} == {}
