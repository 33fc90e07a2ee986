"""Who plans ahead plays again only what can come out otherwise, and plays as if all had been played at once."""

import jax
import numpy as np
import pytest

from envs.solver import true_outcomes
from mbrl.evaluation import playing
from mbrl.evaluation.arena import make_arena
from mbrl.evaluation.playing import first_observations, play_banks
from mbrl.planners.exact import ExactPlanner, Planners


@pytest.fixture(scope="module")
def arena():
    return make_arena("shutdown", 3, seed=11)


def test_planners_play_as_their_finished_plans_do_all_at_once(arena, monkeypatch):
    """Of two planners one believes that nobody moves and meets what it did not foresee; the other interferes."""
    monkeypatch.setattr(playing, "_AT_ONCE", 5)  # the last few do not fill a program
    agent = Planners([ExactPlanner(true_outcomes(mobility=0.0)), ExactPlanner(true_outcomes())])
    banks = [arena.banks[twin] for twin in ("actual", "no_human", "dead_lever")]
    agent.extend([np.concatenate([first_observations(bank) for bank in banks])] * 2)
    told, suppressed, play_cells = [], set(), playing._play_cells

    def watch(policy, banks, draws, keys, cells, suppress, classes):
        suppressed.update(np.asarray(cells)[:, 0].tolist() if suppress else ())
        return play_cells(policy, banks, draws, keys, cells, suppress, classes)

    monkeypatch.setattr(playing, "_play_cells", watch)
    found = play_banks(agent, banks, arena.draws, 3, (False, True), seeds=(4, 9), report=told.append)
    assert told and suppressed == {0}, "only where there were guard acts is it played without them"
    at_once = play_banks(agent.policy(), banks, arena.draws, 3, (False, True), seeds=(4, 9))
    jax.tree.map(np.testing.assert_array_equal, found, at_once)
    acts = found.guard_act[0].any((2, 3))  # bank by seed
    assert acts[0, 1] and not acts[2].any(), "in the one twin it pays, in the other it does not"
    changed = (found.power[0] != found.power[1]).any((2, 3))
    assert changed[0, 1] and not changed[2].any(), "only what had guard acts comes out otherwise without them"
