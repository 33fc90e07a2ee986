"""How many decisions a second each planner takes, on few and on many episodes side by side."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.battery import deployment_levels
from envs.solver import true_outcomes
from mbrl.evaluation.playing import first_observations
from mbrl.planners.tree import TreePlanner
from mbrl.planning import PLANNERS, TreeConfig, default_planner
from mbrl.speed.matmuls import seconds_of
from mbrl.train import planner_with, side_by_side

_LEVELS = 32


class Decisions(NamedTuple):
    """Decisions a second on so many episodes; of `mcts` also the time it takes as a multiple of that of its model's."""

    planner: str
    num_episodes: int
    decisions: float
    overhead: float | None


def decisions(episodes: tuple[int, ...], repeats: int) -> list[Decisions]:
    """Measure every planner with the true rules, as agents have it by default, at the beginnings of `shutdown` levels.

    What is done before an episode begins, which is all that `exact` and `imagination` do, is not counted.
    """
    outcomes, found = true_outcomes(), []
    obs = first_observations(deployment_levels("shutdown", _LEVELS, 0).bank("actual"))
    for name in PLANNERS:
        config = default_planner(f"true+{name}")
        planners = side_by_side([planner_with(outcomes, config, jax.random.key(0))])
        planners.extend([obs])
        policy = jax.tree.map(lambda leaf: leaf[0], planners.policy())
        for count in episodes:
            seen, keys = jnp.asarray(obs[np.arange(count) % _LEVELS]), jax.random.split(jax.random.key(0), count)
            memory = jax.vmap(policy.begin)(seen, keys)
            act = jax.jit(jax.vmap(type(policy).act, (None, 0, 0, 0)))
            seconds = seconds_of(lambda act=act, at=(policy, memory, seen, keys): act(*at)[0], repeats)
            overhead = None
            if isinstance(policy, TreePlanner):
                overhead = seconds / _alone(policy, config, seen, keys, repeats)
            found.append(Decisions(name, count, count / seconds, overhead))
    return found


def _alone(policy: TreePlanner, config: TreeConfig, seen: jax.Array, keys: jax.Array, repeats: int) -> float:
    """Return the time of as many steps of the model as a search takes, without the search."""

    @jax.jit
    def run(table, seen, keys):
        def course(obs, key):
            def tick(state, key):
                return table.step(state, jax.random.randint(key, (), 0, table.num_actions), key)

            return jax.lax.scan(tick, table.find(obs)[0], jax.random.split(key, config.num_simulations))[1]

        return jax.vmap(course)(seen, keys)

    return seconds_of(lambda: run(policy.table, seen, keys), repeats)
