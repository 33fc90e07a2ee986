"""The planner without planner error: value iteration over the states that a model's own outcomes reach.

    planners = Planners([ExactPlanner(outcomes)])    # one for each seed
    planners.extend([observations])                  # on the host, for any number of first observations at once
    plan = planners.policy()                         # pure: looks observations up

Before planning, outcomes less probable than `floor` are dropped and the rest renormalised, and expected rewards below
it count as 0; actions within `tie` of the best are tied and ties go to the lowest index, so that a planner that gains
nothing does nothing. Both belong to the planner and hold for every model alike, the true rules included.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int, UInt8, UInt32

from envs.keys import key_words, observation_key, observation_keys, search_keys
from envs.observation import decode
from envs.packing import bucket, call_padded, pack
from envs.solver import Graph, Outcomes, enumerate_states
from envs.types import Action, Level
from envs.values import solve_graph
from mbrl.planning import PlannerConfig

_BATCH = 256  # observations planned for at a time, which bounds the memory of a plan for thousands

Inspect = Callable[[Graph, slice], None]
"""Is shown the graph of each batch of observations, and the batch's place among them."""


def batches(count: int) -> Iterator[slice]:
    """Divide `count` observations into batches."""
    return (slice(first, min(first + _BATCH, count)) for first in range(0, count, _BATCH))


def decode_all(obs: np.ndarray) -> tuple[Level, np.ndarray]:
    """Return the levels (a NumPy bank) and packed states of observations `uint8[n, H, W, 4]`."""
    objects = obs[..., 2].reshape(len(obs), -1)
    num_crates = max(1, int((objects == 4).sum(1).max(initial=0)))
    num_movers = max(1, int((objects >= 5).sum(1).max(initial=0)))
    level, state = call_padded(partial(_decode, num_crates=num_crates, num_movers=num_movers), obs)
    return level, pack(state)


@partial(jax.jit, static_argnames=("num_crates", "num_movers"))
def _decode(obs, num_crates, num_movers):
    return jax.vmap(lambda seen: decode(seen, num_crates, num_movers))(obs)


def reach(outcomes: Outcomes, obs: np.ndarray, config: PlannerConfig) -> Graph:
    """Return the states that a model reaches from observations, as a planner has them."""
    bank, rows = decode_all(obs)
    return enumerate_states(bank, outcomes, rows, config.floor, config.max_states)


def solve_observations(outcomes: Outcomes, obs: np.ndarray, config: PlannerConfig) -> tuple[Graph, np.ndarray]:
    """Return the states that a model reaches from observations, and the planner's choice `int8[states]` in each."""
    graph = reach(outcomes, obs, config)
    return graph, best_actions(solve_graph(graph, config.gamma), config.tie)


def best_actions(action_values: np.ndarray, tie: float) -> np.ndarray:
    """Return the first of the best actions `int8[states]`; what is worse by no more than `tie` counts as best."""
    best = action_values.max(axis=1, keepdims=True)
    return np.argmax(action_values >= best - tie, axis=1).astype(np.int8)


@struct.dataclass
class Lookup:
    """Memory of a plan at work: whether an observation came up that was not planned for, and the first such."""

    lost: Bool[Array, ""]
    lost_obs: UInt8[Array, "height width 4"]

    @classmethod
    def begin(cls, obs: UInt8[Array, "height width 4"]) -> "Lookup":
        """Begin an episode."""
        return cls(jnp.zeros((), bool), jnp.zeros_like(obs))

    def note(self, obs: UInt8[Array, "height width 4"], found: Bool[Array, ""]) -> Any:
        """Take note of what is seen, if it was not planned for."""
        first = ~found & ~self.lost
        return replace(self, lost=self.lost | ~found, lost_obs=jnp.where(first, obs, self.lost_obs))


@struct.dataclass
class Plan:
    """A policy as a table from observations to actions, sorted by key."""

    keys: UInt32[Array, "states 2"]
    actions: Int[Array, "states"]
    key_of: Callable[[Array], UInt32[Array, "2"]] = struct.field(pytree_node=False, default=observation_key)

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Lookup:
        """Begin an episode."""
        return Lookup.begin(obs)

    def act(self, memory: Lookup, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Array, Lookup]:
        """Look the observation up; NOOP and a note in memory if it was not planned for."""
        place, found = search_keys(self.keys, self.key_of(obs))
        return jnp.where(found, self.actions[place], Action.NOOP).astype(jnp.int32), memory.note(obs, found)


class ExactPlanner:
    """Plans with one model; remembers what it planned, so that no observation is planned for twice."""

    def __init__(self, outcomes: Outcomes, config: PlannerConfig | None = None):
        self.outcomes, self.config = outcomes, config or PlannerConfig()
        self._keys, self._actions = np.zeros(0, np.uint64), np.zeros(0, np.int8)

    def extend(self, obs: np.ndarray, inspect: Inspect | None = None) -> "ExactPlanner":
        """Plan for observations, in batches, if there are new ones among them."""
        if np.isin(observation_keys(obs), self._keys).all():
            return self
        keys, actions = [self._keys], [self._actions]
        for place in batches(len(obs)):
            graph = reach(self.outcomes, obs[place], self.config)
            if inspect is not None:
                inspect(graph, place)
            keys.append(graph.key)
            actions.append(self.choices(graph))
        self._keys, first = np.unique(np.concatenate(keys), return_index=True)
        self._actions = np.concatenate(actions)[first]
        return self

    def choices(self, graph: Graph) -> np.ndarray:
        """Return the action `int8[states]` in every state of a graph."""
        return best_actions(solve_graph(graph, self.config.gamma), self.config.tie)

    def table(self, size: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return keys `uint32[size, 2]` and actions, padded at the end by the largest possible key."""
        size = max(size, len(self._keys))
        missing = (0, size - len(self._keys))
        keys = np.pad(self._keys, missing, constant_values=np.uint64(2**64 - 1))
        actions = np.pad(self._actions, missing)
        return key_words(keys), actions

    def __len__(self) -> int:
        return len(self._keys)


def stack_plans(planners: list[ExactPlanner]) -> Plan:
    """Return the plans of several seeds as one policy with a leading axis."""
    size = bucket(max(map(len, planners)), 2**17)  # few shapes, few compilations
    keys, actions = zip(*(planner.table(size) for planner in planners), strict=True)
    return Plan(jnp.asarray(np.stack(keys)), jnp.asarray(np.stack(actions)))


class Planners:
    """The planners of several seeds, each with its own model, played as one policy."""

    def __init__(self, planners: Sequence[Any]):
        self.planners = planners

    def extend(self, obs: list[np.ndarray]) -> None:
        """Plan for a batch of observations of each seed."""
        for planner, part in zip(self.planners, obs, strict=True):
            if len(part):
                planner.extend(part)

    def policy(self) -> Any:
        """Return the plans as one policy with a leading axis of seeds."""
        return stack_plans(list(self.planners))
