"""Monte Carlo tree search over what a model reaches, by mctx: a planner that decides where it looks.

    tree_search(table, state, config, key) -> what each action brings [actions]

Nodes of choice and nodes of chance alternate: every outcome of an action is a branch of its own, with its exact
probability, so that no lucky draw stands for all. A leaf is worth what the base policy brings from there, exactly
(`bootstrap`), or nothing. Where to look next is decided by PUCT and means over simulations. What was found is then
added up anew, as a graph: nodes of one state are one, and all that can be done in a state is looked at one tick ahead,

    V(s) ← max(V_base(s), maxₐ Q(s, a))     Q(s, a) ← r + γ Σ p(s') V(s')     in the tree, and V_base beyond it

as often as the horizon has ticks, so that every value is that of a policy that can be followed: the tree's, and then
the base policy. That is left only for a gain of more than `tie`.

References: Antonoglou et al., 2022, Planning in Stochastic Environments with a Learned Model (Stochastic MuZero), for
the search, here without networks; Keller and Helmert, 2013, Trial-Based Heuristic Tree Search for Finite Horizon MDPs,
for full backups; Childs, Brodeur and Kocsis, 2008, Transpositions and Move Groups in Monte Carlo Tree Search, for nodes
of one state; DeepMind et al., 2020, The DeepMind JAX Ecosystem (mctx).
"""

import jax
import jax.numpy as jnp
import mctx
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from mbrl.models.tabular import Table
from mbrl.planners.exact import Lookup
from mbrl.planning import TreeConfig

_NOWHERE = np.iinfo(np.int32).max


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
        What each action brings, −∞ if that is no number; and what the base policy brings, perhaps no number.
    """
    found = jax.tree.map(lambda leaf: leaf[0], _grow(table, state, config, key).search_tree)
    chooses = (found.node_visits > 0) & found.embeddings.is_decision_node
    states = jnp.where(chooses, found.embeddings.state_embedding, _NOWHERE)
    order = jnp.argsort(states)
    nodes = states[order]  # sorted, so that those of one state are neighbours, of which the first stands for all
    known = jnp.minimum(nodes, len(table.base) - 1)

    pairs = known[:, None] * table.num_actions + jnp.arange(table.num_actions)
    chance, child = jax.vmap(lambda pair: _outcomes(table, pair))(pairs)
    below = jnp.minimum(jnp.searchsorted(nodes, child), len(nodes) - 1)
    is_node, worth = nodes[below] == child, _worth(table, child, config)
    leaf, reward = _worth(table, known, config), table.reward[known]

    def brought(value):
        later = jnp.where(is_node, value[below], worth)
        gained = reward + config.gamma * jnp.sum(jnp.where(chance > 0, chance * later, 0.0), axis=-1)
        return jnp.where(jnp.isnan(gained), -jnp.inf, gained)

    def back(at):
        times, value, _ = at
        new = jnp.maximum(jnp.where(jnp.isnan(leaf), -jnp.inf, leaf), jnp.max(brought(value), axis=1))
        return times + 1, new, jnp.any(new != value)  # what no longer changes has settled

    goes_on = lambda at: at[2] & (at[0] < config.horizon - 1)  # noqa: E731
    value = jax.lax.while_loop(goes_on, back, (jnp.int32(0), leaf, jnp.bool_(True)))[1]
    root = jnp.searchsorted(nodes, state)
    return brought(value)[root], leaf[root]


def _worth(table: Table, state: Int[Array, "n"], config: TreeConfig) -> Float[Array, "n"]:
    """Return what leaves are worth."""
    return table.value[state] if config.bootstrap else jnp.zeros_like(table.value[state])


def _outcomes(table: Table, pair: Int[Array, "n"]) -> tuple[Float[Array, "n outcomes"], Int[Array, "n outcomes"]]:
    """Return of pairs the probabilities of outcomes, 0 where there is none, and the states."""
    outcome = table.first[pair][:, None] + jnp.arange(table.most)
    exists = outcome < table.first[pair + 1][:, None]
    outcome = jnp.where(exists, outcome, table.first[pair][:, None])
    before = jnp.where(jnp.arange(table.most) > 0, table.cumulative[outcome - 1], 0.0)
    return jnp.where(exists, table.cumulative[outcome] - before, 0.0), table.child[outcome]


def _grow(table: Table, state: Int[Array, ""], config: TreeConfig, key: jax.Array) -> mctx.PolicyOutput:
    """Grow the tree of one state; what is no number counts as nothing here."""

    def choose(table, key, action, state):
        pair = state * table.num_actions + action
        chance, child = _outcomes(table, pair)
        worth = jnp.where(chance > 0, chance * _worth(table, child, config), 0.0)
        expected = table.reward.reshape(-1)[pair] + config.gamma * jnp.sum(worth, axis=1)
        found = mctx.DecisionRecurrentFnOutput(chance_logits=jnp.log(chance), afterstate_value=_number(expected))
        return found, pair

    def fall(table, key, number, pair):
        state = table.child[table.first[pair] + number]
        reward = _number(table.reward.reshape(-1)[pair])
        found = mctx.ChanceRecurrentFnOutput(
            action_logits=table.prior(state, config.base_share),
            value=_number(_worth(table, state, config)),
            reward=reward,
            discount=jnp.full(reward.shape, config.gamma),
        )
        return found, state

    root = state[None]
    start = mctx.RootFnOutput(
        prior_logits=table.prior(root, config.base_share),
        value=_number(_worth(table, root, config)),
        embedding=root.astype(jnp.int32),
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
