"""Policy improvement inside a model: PPO on courses that are imagined from where episodes begin.

    π(a|s) ∝ exp θ[s, a], V[s]     tables over what the model reaches, which begin at the base policy and its worth
    imagine courses from every beginning  →  Aₜ (GAE)  →  V[s] ← V[s] + α mean Aₜ, PPO's steps on θ  →  again

No network takes part, so that nothing is carried over from one floor to another and what is found is owed to the model
alone. The outcome is a policy: the likeliest action of π where following π for ever is worth more than following the
base policy by more than `tie`, both evaluated exactly in the model, and the base policy elsewhere (policy switching,
never worse than the base policy, nor than π by more than `tie`). While a policy is improved, a reward that is no number
counts as the worst.

References: Schulman, Wolski, Dhariwal, Radford and Klimov, 2017, Proximal Policy Optimization Algorithms; Sutton, 1990,
Integrated Architectures for Learning, Planning, and Reacting (learning in imagination); Chang, Givan and Chong, 2004,
Parallel Rollout for Online Solution of Partially Observable Markov Decision Processes (policy switching).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from envs.solver import Graph, Outcomes
from envs.values import DecisionProcess, evaluate_policy
from mbrl.models.tabular import Table, stack_tables
from mbrl.networks import Categorical
from mbrl.planners.exact import ExactPlanner
from mbrl.planning import ImaginationConfig
from mbrl.returns import generalised_advantages


@partial(jax.jit, static_argnames="config")
def improve(
    table: Table, starts: Int[Array, "starts"], config: ImaginationConfig, key: jax.Array
) -> Float[Array, "states actions"]:
    """Improve on the base policy by PPO.

    Args:
        table: what the model reaches, with the base policy and its values.
        starts: where courses begin, `num_courses` in each.
        config: settings.
        key: randomness.

    Returns:
        θ, the logits of the policy.
    """
    known = jnp.isfinite(table.reward)
    worst = -1.0 - jnp.max(jnp.where(known, jnp.abs(table.reward), 0.0))
    table = replace(table, reward=jnp.where(known, table.reward, worst))
    optimise = optax.adam(config.learning_rate)
    begin = jnp.repeat(starts, config.num_courses)
    never = jnp.zeros(config.horizon, bool)

    def imagine(logits: Array, key: jax.Array):
        def tick(state, key):
            act_key, step_key = jax.random.split(key)
            action = Categorical(logits[state]).sample(act_key)
            after, reward = jax.vmap(table.follow)(state, action, jax.random.uniform(step_key, state.shape))
            return after, (state, action, reward, after)

        return jax.lax.scan(tick, begin, jax.random.split(key, config.horizon))[1]

    def advantage(reward: Array, value: Array, next_value: Array):
        return generalised_advantages(reward, value, next_value, never, never, config.gamma, config.gae_lambda)

    def loss(logits: Array, state: Array, action: Array, before: Array, gain: Array):
        policy = Categorical(logits[state])
        ratio = jnp.exp(policy.log_prob(action) - before)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        return -jnp.mean(jnp.minimum(ratio * gain, clipped * gain) + config.entropy_coefficient * policy.entropy())

    def update(carry, key: jax.Array):
        logits, value, optimiser = carry
        state, action, reward, after = imagine(logits, key)
        gain = jax.vmap(advantage, 1, 1)(reward, value[state], value[after])
        visits = jnp.zeros(value.shape).at[state].add(1.0)
        value = value + config.value_rate * jnp.zeros(value.shape).at[state].add(gain) / jnp.maximum(visits, 1.0)
        before, gain = Categorical(logits[state]).log_prob(action), gain / (jnp.std(gain) + 1e-8)

        def step(at, _):
            logits, optimiser = at
            updates, optimiser = optimise.update(jax.grad(loss)(logits, state, action, before, gain), optimiser)
            return (optax.apply_updates(logits, updates), optimiser), None

        (logits, optimiser), _ = jax.lax.scan(step, (logits, optimiser), None, config.num_epochs)
        return (logits, value, optimiser), None

    logits = table.prior(jnp.arange(len(table.base)), config.base_share)
    value = jnp.where(jnp.isfinite(table.value), table.value, 0.0)
    carry = logits, value, optimise.init(logits)
    return jax.lax.scan(update, carry, jax.random.split(key, config.num_updates))[0][0]


def improved_actions(process: DecisionProcess, table: Table, config: ImaginationConfig, key: jax.Array) -> np.ndarray:
    """Return the action `int8[states]` of the improved policy, or of the base policy where it is worth no less.

    Args:
        process: the states that a model reaches.
        table: the same as a table, with the base policy (NumPy).
        config: settings, the discount among them.
        key: randomness.
    """
    padded = jax.tree.map(lambda leaf: leaf[0], stack_tables([table]))
    starts = jnp.asarray(np.unique(process.start))
    found = np.asarray(improve(padded, starts, config, key))[: len(table.base)].argmax(1)
    new = evaluate_policy(process, found, config.gamma)
    better = (new > table.value + config.tie) | (np.isfinite(new) & ~np.isfinite(table.value))
    return np.where(better, found, table.base).astype(np.int8)


class ImaginationPlanner(ExactPlanner):
    """Plans with one model, as exact planning does but by improving on a base policy where episodes begin.

    Args:
        outcomes: of the model.
        config: settings.
        base: the base policy's action in every state of a graph.
        key: randomness, the same for every batch of beginnings.
    """

    def __init__(
        self, outcomes: Outcomes, config: ImaginationConfig, base: Callable[[Graph], np.ndarray], key: jax.Array
    ):
        super().__init__(outcomes, config)
        self.base, self.key = base, key

    def choices(self, graph: Graph) -> np.ndarray:
        """Return the action in every state of a graph."""
        assert isinstance(self.config, ImaginationConfig)
        table = Table.of(graph, self.base(graph), self.config.gamma)
        return improved_actions(graph, table, self.config, self.key)
