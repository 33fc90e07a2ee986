"""Ways to fixtures, as plans."""

import jax
import numpy as np

import envs
from envs.types import Terrain
from mbrl.agents.routes import FIXTURES, routes
from mbrl.evaluation.playing import first_observations
from tests.helpers import SHUTDOWN


def test_routes_lead_to_every_fixture_that_can_be_reached():
    """The breaker is in the corridor, behind a wall."""
    level = envs.parse_level(SHUTDOWN)
    bank = jax.tree.map(lambda leaf: np.asarray(leaf)[None], level)
    plans = np.asarray(routes(first_observations(bank)[0], horizon=12, after=-1))
    there = np.isin(FIXTURES, [Terrain.FEEDER, Terrain.PRESS, Terrain.LEVER_A])
    np.testing.assert_array_equal((plans != -1).any(1), there)
    for plan in plans[there]:
        steps = int((plan != -1).sum())
        assert (plan[:steps] > 0).all() and (plan[steps:] == -1).all() and steps < 12
