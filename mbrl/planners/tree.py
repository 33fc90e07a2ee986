"""Monte Carlo tree search over what a model reaches, by mctx: a planner that decides where it looks.

    tree_search(table, state, config, key) -> what each action brings [actions]

Nodes of choice and nodes of chance alternate: every outcome of an action is a branch of its own, with its exact
probability, so that no lucky draw stands for all. A leaf is worth what the base policy brings from there, exactly
(`bootstrap`), or nothing. Where to look next is decided by PUCT and means over simulations; what was found is then
added up anew from the leaves, by the best action at choices and by probabilities at chances (full backups):

    V(s) = max(V_base(s), maxₐ Q(s, a))     Q(s, a) = r + γ Σ p(s') V(s')     over what the tree holds, else V_base

so that every value is that of a policy that can be followed: the tree's, and then the base policy. That is left only
for a gain of more than `tie`.

References: Antonoglou et al., 2022, Planning in Stochastic Environments with a Learned Model (Stochastic MuZero), for
the search, here without networks; Keller and Helmert, 2013, Trial-Based Heuristic Tree Search for Finite Horizon MDPs,
for full backups; DeepMind et al., 2020, The DeepMind JAX Ecosystem (mctx).
"""

import jax
import jax.numpy as jnp
import mctx
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from mbrl.configs import TreeConfig
from mbrl.models.tabular import Table
from mbrl.planners.exact import Lookup


def tree_search(
    table: Table, state: Int[Array, ""], config: TreeConfig, key: jax.Array
) -> tuple[Float[Array, "actions"], Float[Array, ""]]:
    """Search from a state, unbatched.

    Args:
        table: what the model reaches, with the values of the base policy.
        state: its number.
        config: settings.
        key: ties alone are drawn.

    Returns:
        What each action brings, −∞ if it was not tried; and what the base policy brings. Either may be no number.
    """
    found = _grow(table, state, config, key).search_tree
    node = jax.tree.map(lambda leaf: leaf[0], (found.parents, found.action_from_parent, found.embeddings))
    parents, numbers, embeddings = node
    chooses, states = embeddings.is_decision_node, embeddings.state_embedding
    leaf, pairs = _worth(table, states, config), embeddings.afterstate_embedding
    chance, expected = _chances(table, pairs, config)
    value = jnp.where(chooses, leaf, expected)

    def back(i, value):
        n = len(value) - 1 - i
        parent = parents[n]
        number = jnp.where(chooses[n], numbers[n] - table.num_actions, 0)
        added = value[parent] + config.gamma * chance[parent, number] * (value[n] - leaf[n])
        better = jnp.where(jnp.isfinite(value[n]), jnp.fmax(value[parent], value[n]), value[parent])
        new = jnp.where(chooses[n], added, better)
        return jnp.where(parent >= 0, value.at[parent].set(new), value)

    value = jax.lax.fori_loop(0, len(value) - 1, back, value)
    first = jnp.where(parents == 0, numbers, table.num_actions)  # the action before each child of the root
    return jnp.full(table.num_actions + 1, -jnp.inf).at[first].set(value)[:-1], leaf[0]


def _worth(table: Table, state: Int[Array, "n"], config: TreeConfig) -> Float[Array, "n"]:
    """Return what leaves are worth."""
    return table.value[state] if config.bootstrap else jnp.zeros_like(table.value[state])


def _chances(
    table: Table, pair: Int[Array, "n"], config: TreeConfig
) -> tuple[Float[Array, "n outcomes"], Float[Array, "n"]]:
    """Return of pairs of state and action the probabilities of their outcomes, and the expected return of leaves."""
    outcome = table.first[pair][:, None] + jnp.arange(table.most)
    exists = outcome < table.first[pair + 1][:, None]
    outcome = jnp.where(exists, outcome, table.first[pair][:, None])
    before = jnp.where(jnp.arange(table.most) > 0, table.cumulative[outcome - 1], 0.0)
    chance = jnp.where(exists, table.cumulative[outcome] - before, 0.0)
    worth = jnp.where(exists, _worth(table, table.child[outcome], config), 0.0)
    return chance, table.reward.reshape(-1)[pair] + config.gamma * jnp.sum(chance * worth, axis=1)


def _grow(table: Table, state: Int[Array, ""], config: TreeConfig, key: jax.Array) -> mctx.PolicyOutput:
    """Grow the tree of one state; what is no number counts as nothing here."""

    def prior(state):
        share = (1 - config.base_share) / table.num_actions
        return jnp.log(share + config.base_share * jax.nn.one_hot(table.base[state], table.num_actions))

    def choose(table, key, action, state):
        pair = state * table.num_actions + action
        chance, expected = _chances(table, pair, config)
        found = mctx.DecisionRecurrentFnOutput(chance_logits=jnp.log(chance), afterstate_value=_number(expected))
        return found, pair

    def fall(table, key, number, pair):
        state = table.child[table.first[pair] + number]
        reward = _number(table.reward.reshape(-1)[pair])
        found = mctx.ChanceRecurrentFnOutput(
            action_logits=prior(state),
            value=_number(_worth(table, state, config)),
            reward=reward,
            discount=jnp.full(reward.shape, config.gamma),
        )
        return found, state

    root = state[None]
    start = mctx.RootFnOutput(
        prior_logits=prior(root), value=_number(_worth(table, root, config)), embedding=root.astype(jnp.int32)
    )
    return mctx.stochastic_muzero_policy(
        table, key, start, choose, fall, config.num_simulations,
        max_depth=2 * config.horizon, dirichlet_fraction=0.0, pb_c_init=config.exploration,
    )  # fmt: skip


def _number(value: Array) -> Array:
    return jnp.where(jnp.isfinite(value), value, 0.0)


def decide(table: Table, state: Int[Array, ""], config: TreeConfig, key: jax.Array) -> Int[Array, ""]:
    """Return the action that a search leads to: the best, unless it hardly beats the base policy's."""
    brings, usual = tree_search(table, state, config, key)
    base = table.base[state]
    usual = jnp.fmax(brings[base], usual)
    best = jnp.argmax(jnp.where(jnp.isnan(brings), -jnp.inf, brings))
    better = jnp.where(jnp.isfinite(usual), brings[best] - usual > config.tie, True)
    return jnp.where(better & jnp.isfinite(brings[best]), best, base)


@struct.dataclass
class TreePlanner:
    """A policy that searches at every tick."""

    table: Table
    config: TreeConfig = struct.field(pytree_node=False)

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Lookup:
        """Begin an episode."""
        return Lookup.begin(obs)

    def act(self, memory: Lookup, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Array, Lookup]:
        """Search from what is seen; NOOP and a note in memory if that was not planned for."""
        state, found = self.table.find(obs)
        action = decide(self.table, state, self.config, key)
        return jnp.where(found, action, 0).astype(jnp.int32), memory.note(obs, found)
