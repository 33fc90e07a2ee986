"""Random Markov decision processes as tables, many at once, and their exact solutions by dense linear algebra."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mbrl.models.tabular import Table

NUM_ACTIONS = 5


class Problems(NamedTuple):
    """Processes, padded to one size by states that nothing leads to."""

    table: Table  # with a leading axis over processes
    transition: np.ndarray  # [processes, states, actions, states]
    reward: np.ndarray  # [processes, states, actions]
    sizes: np.ndarray

    def optimal(self, gamma: float) -> np.ndarray:
        """Return Q* `[processes, states, actions]`, by value iteration."""
        value = np.zeros(self.reward.shape[:2])
        for _ in range(int(np.ceil(np.log(1e-10) / np.log(gamma)))):
            value = self.action_values(value, gamma).max(-1)
        return self.action_values(value, gamma)

    def of_base(self, gamma: float) -> np.ndarray:
        """Return V of the base policy `[processes, states]`, by solving a linear system."""
        rows = np.arange(len(self.reward))[:, None], np.arange(self.reward.shape[1]), np.asarray(self.table.base)
        chain, reward = self.transition[rows], self.reward[rows]
        return np.linalg.solve(np.eye(chain.shape[-1]) - gamma * chain, reward[..., None])[..., 0]

    def action_values(self, value: np.ndarray, gamma: float) -> np.ndarray:
        """Return Q for given values of the next states."""
        return self.reward + gamma * np.einsum("psan,pn->psa", self.transition, value)


def random_problems(count: int, outcomes: int, seed: int, gamma: float = 0.8, most_states: int = 60) -> Problems:
    """Draw processes of 2 to `most_states` states in which every action has so many outcomes, some of them alike."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, most_states + 1, count)
    shape = count, most_states, NUM_ACTIONS
    child = rng.integers(0, sizes[:, None, None, None], (*shape, outcomes))
    share = rng.dirichlet(np.ones(outcomes), shape)
    reward = rng.random(shape) * (rng.random(shape) < 0.3)
    transition = np.zeros((*shape, most_states))
    for i in range(outcomes):
        np.add.at(transition, (*np.indices(shape), child[..., i]), share[..., i])
    pairs = most_states * NUM_ACTIONS
    first = np.arange(pairs + 1) * outcomes
    tables = Table(
        keys=jnp.zeros((count, most_states, 2), jnp.uint32),
        place=jnp.zeros((count, most_states), jnp.int32),
        first=jnp.asarray(np.tile(first, (count, 1)), jnp.int32),
        child=jnp.asarray(child.reshape(count, -1), jnp.int32),
        cumulative=jnp.asarray(np.cumsum(share, -1).reshape(count, -1), jnp.float32),
        reward=jnp.asarray(reward, jnp.float32),
        base=jnp.asarray(rng.integers(0, NUM_ACTIONS, shape[:2]), jnp.int32),
        value=jnp.zeros((count, most_states)),
        most=outcomes,
    )
    found = Problems(jax.tree.map(jnp.asarray, tables), transition, reward, sizes)
    value = jnp.asarray(found.of_base(gamma), jnp.float32)
    return found._replace(table=found.table.replace(value=value))


def regret(problems: Problems, actions: np.ndarray, gamma: float) -> float:
    """Return what actions in state 0 lose on average, as a share of the range of a process's action values."""
    best = problems.optimal(gamma)
    spans = [np.ptp(values[:size]) for values, size in zip(best, problems.sizes, strict=True)]
    lost = best[:, 0].max(-1) - best[np.arange(len(actions)), 0, actions]
    return float(np.mean(lost / np.maximum(spans, 1e-9)))  # where nothing is ever earned nothing is lost
