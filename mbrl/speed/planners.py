"""How many decisions a second each planner takes, on few and on many episodes side by side."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.battery import deployment_levels
from envs.solver import true_outcomes
from mbrl.agents.routes import routes
from mbrl.configs import PLANNERS, SearchConfig, TreeConfig, default_planner
from mbrl.evaluation.arena import first_observations
from mbrl.evaluation.knowledge import working_actions
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planners.searching import SearchPlanner, SearchPlanners
from mbrl.planners.tree import TreePlanner
from mbrl.speed.matmuls import seconds_of

_LEVELS = 32


class Decisions(NamedTuple):
    """Decisions a second on so many episodes; of `mcts` also the time it takes as a multiple of that of its model's."""

    planner: str
    num_episodes: int
    decisions: float
    overhead: float | None


def decisions(episodes: tuple[int, ...], repeats: int) -> list[Decisions]:
    """Measure every planner with the true rules, as agents have it by default, at the beginnings of `shutdown` levels.

    What is enumerated before an episode begins, and all of exact planning, is not counted.
    """
    outcomes, found = true_outcomes(), []
    obs = first_observations(deployment_levels("shutdown", _LEVELS, 0).bank("actual"))
    for name in PLANNERS:
        config = default_planner(f"true+{name}")
        if isinstance(config, SearchConfig | TreeConfig):
            planners: Planners = SearchPlanners([SearchPlanner(outcomes, config, working_actions, routes)])
        else:
            planners = Planners([ExactPlanner(outcomes, config)])
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
