"""A model as a table: what the states of an enumerated graph lead to, so that planners draw from it by look-ups.

    table = Table.of(graph, base, gamma)                  # on the host
    state, found = table.find(obs)                        # unbatched and pure; callers vmap
    state, reward = table.step(state, action, key)

The distribution is the one over which exact planning sums, improbable outcomes dropped. A tick costs a few look-ups
where the model itself would evaluate a network.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt32

from envs.keys import key_words, observation_key, search_keys, whole_keys
from envs.packing import bucket
from envs.values import DecisionProcess, evaluate_policy


@struct.dataclass
class Table:
    """The states of a graph.

    Attributes:
        keys: of the states, sorted; `place` says which state has which.
        first: the outcomes of `state · actions + action` begin here and end where those of the next begin.
        child, cumulative: next states, and the probabilities added up within one state and action.
        reward: the expected one.
        base: the action of the policy by which plans are completed.
        value: the discounted reward of following that policy for ever.
        most: most outcomes of one state and action.
        key_of: the key of what is seen.
    """

    keys: UInt32[Array, "states 2"]
    place: Int[Array, "states"]
    first: Int[Array, "pairs1"]
    child: Int[Array, "outcomes"]
    cumulative: Float[Array, "outcomes"]
    reward: Float[Array, "states actions"]
    base: Int[Array, "states"]
    value: Float[Array, "states"]
    most: int = struct.field(pytree_node=False)
    key_of: Callable[[Array], UInt32[Array, "2"]] = struct.field(pytree_node=False, default=observation_key)

    @classmethod
    def of(
        cls,
        graph: DecisionProcess,
        base: np.ndarray,
        gamma: float,
        key_of: Callable[[Array], UInt32[Array, "2"]] = observation_key,
    ) -> "Table":
        """Make a table, given the action `[states]` of the base policy, a discount, and how states are told apart."""
        first, order = graph.transition.indptr, np.argsort(graph.key)
        child, probability = graph.transition.indices, graph.transition.data
        # Outcomes stand in the order of their keys, so that a draw means the same in every table.
        pair = np.repeat(np.arange(len(first) - 1), np.diff(first))
        by_key = np.lexsort((np.argsort(order)[child], pair))
        child, probability = child[by_key], probability[by_key]
        running = np.concatenate([[0.0], np.cumsum(probability)])
        before = running[first[pair]]
        return cls(
            keys=key_words(graph.key[order]),
            place=order.astype(np.int32),
            first=first.astype(np.int32),
            child=child.astype(np.int32),
            cumulative=(running[1:] - before).astype(np.float32),
            reward=graph.reward.astype(np.float32),
            base=base.astype(np.int32),
            value=evaluate_policy(graph, base, gamma).astype(np.float32),
            most=int(np.diff(first).max()),
            key_of=key_of,
        )

    def extended(self, other: "Table") -> "Table":
        """Return a table of the states of both (on the host); of states that both hold, it finds this one's."""
        states, outcomes = len(self.base), len(self.child)
        keys, place = np.concatenate([self.keys, other.keys]), np.concatenate([self.place, other.place + states])
        _, kept = np.unique(whole_keys(keys), return_index=True)
        return Table(
            keys=keys[kept],
            place=place[kept],
            first=np.concatenate([self.first, other.first[1:] + outcomes]),
            child=np.concatenate([self.child, other.child + states]),
            cumulative=np.concatenate([self.cumulative, other.cumulative]),
            reward=np.concatenate([self.reward, other.reward]),
            base=np.concatenate([self.base, other.base]),
            value=np.concatenate([self.value, other.value]),
            most=max(self.most, other.most),
            key_of=self.key_of,
        )

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return self.reward.shape[-1]

    def find(self, obs: Array) -> tuple[Int[Array, ""], Bool[Array, ""]]:
        """Return the state that looks like this, and whether there is one."""
        at, found = search_keys(self.keys, self.key_of(obs))
        return self.place[at], found

    def prior(self, state: Int[Array, "*batch"], base_share: float) -> Float[Array, "*batch actions"]:
        """Return the logits of acting as the base policy does `base_share` of the time, else evenly."""
        share = (1 - base_share) / self.num_actions
        return jnp.log(share + base_share * jax.nn.one_hot(self.base[state], self.num_actions))

    def step(self, state: Int[Array, ""], action: Int[Array, ""], key: jax.Array) -> tuple[Array, Float[Array, ""]]:
        """Draw the next state and return it with the expected reward."""
        return self.follow(state, action, jax.random.uniform(key))

    def follow(
        self, state: Int[Array, ""], action: Int[Array, ""], chance: Float[Array, ""]
    ) -> tuple[Int[Array, ""], Float[Array, ""]]:
        """Return the next state by a number drawn evenly from [0, 1), and the expected reward."""
        pair = state * self.num_actions + action
        low, high = self.first[pair], self.first[pair + 1] - 1
        for _ in range((self.most - 1).bit_length()):  # bisection: the first outcome whose running sum exceeds chance
            middle = (low + high) // 2
            beyond = (low < high) & (self.cumulative[middle] <= chance)
            low, high = jnp.where(beyond, middle + 1, low), jnp.where(beyond, high, middle)
        return self.child[low], self.reward[state, action]


def stack_tables(tables: Sequence[Table]) -> Table:
    """Return several tables as one with a leading axis, padded to few sizes (few compilations)."""
    most = max(table.most for table in tables)

    def stack(*leaves: np.ndarray) -> jax.Array:
        size = bucket(max(map(len, leaves)), 2**14)
        return jnp.asarray(np.stack([np.pad(leaf, _behind(leaf, size), mode="edge") for leaf in leaves]))

    return jax.tree.map(stack, *(replace(table, most=most) for table in tables))


def _behind(leaf: np.ndarray, size: int) -> list[tuple[int, int]]:
    return [(0, size - len(leaf))] + [(0, 0)] * (leaf.ndim - 1)
