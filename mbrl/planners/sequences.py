"""Planners over sequences of actions: draw plans, imagine what comes of them, improve them, do the first of the best.

    search(model, state, config, tried, key) -> plan [horizon]

    shooting    the best of many drawn plans
    cem         plans are drawn anew around the best of them, several times (cross-entropy method, categorical)
    mppi        likewise, every plan weighing by how good it is (model predictive path integral)
    rollout     short beginnings, and then the base policy: never worse than that, but for errors of the model

In a plan, BASE stands for what the base policy does there; plan 0 of every search is nothing but that. All plans of a
search are imagined with the same draws. What looks best of many was lucky, too: the best few are imagined once more,
with draws of their own, and plan 0 is left only for a gain that exceeds `tie` by two standard errors. What comes after
a plan counts as nothing, or as what the model expects of the base policy from there on (`bootstrap`). A plan whose
value is no number loses. The rest of a plan is remembered, and tried again at the next tick.

References: Rubinstein and Kroese, 2004, The Cross-Entropy Method; Williams, Aldrich and Theodorou, 2017, Model
Predictive Path Integral Control; Tesauro and Galperin, 1996, On-line Policy Improvement using Monte-Carlo Search;
Bertsekas, 2013, Rollout Algorithms for Discrete Optimization.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int, UInt8

from mbrl.planners.exact import Lookup
from mbrl.planning import SearchConfig

BASE = -1
"""In a plan: whatever the base policy does."""
_FEW, _TIMES = 3, 4
"""How many plans are imagined again, and how many times the usual draws."""


def imagined_returns(
    model: Any, state: Any, plans: Int[Array, "plans horizon"], keys: jax.Array, gamma: float, bootstrap: bool = False
) -> Float[Array, "plans draws"]:
    """Return the discounted rewards of plans, each imagined once with every key.

    Args:
        model: steps, `step(state, action, key)`, and has a base policy, `base[state]`, that is worth `value[state]`.
        state: where the plans begin.
        plans: actions, or BASE.
        keys: of the draws, which all plans share.
        gamma: discount.
        bootstrap: whether the base policy's value at the end of a plan is added.
    """

    def course(plan, key):
        def tick(carry, inputs):
            state, weight = carry
            action, tick_key = inputs
            action = jnp.where(action == BASE, model.base[state], action)
            state, reward = model.step(state, action, tick_key)
            return (state, weight * gamma), weight * reward

        start = state, jnp.float32(1.0)
        (last, weight), rewards = jax.lax.scan(tick, start, (plan, jax.random.split(key, plan.shape[0])))
        return jnp.sum(rewards) + (weight * model.value[last] if bootstrap else 0.0)

    return jax.vmap(jax.vmap(course, (None, 0)), (0, None))(plans, keys)


class Judged(NamedTuple):
    """Plans with the mean of what they bring, −∞ if that is no number, and by how much plan 0 is surely beaten."""

    plans: Int[Array, "plans horizon"]
    value: Float[Array, "plans"]
    gain: Float[Array, "plans"]

    def best(self, tie: float) -> Int[Array, "horizon"]:
        """Return the best plan, plan 0 unless it is beaten by more than `tie`."""
        best = jnp.argmax(jnp.where(self.gain > tie, self.value, -jnp.inf))
        return self.plans[jnp.where(jnp.any(self.gain > tie), best, 0)]


def judge(
    model: Any, state: Any, plans: Array, config: SearchConfig, key: jax.Array, times: int = 1, errors: float = 0.0
) -> Judged:
    """Imagine plans, each so many `times` the usual draws; a gain is the mean paired difference to plan 0, less so many
    standard `errors`."""
    num_draws = times * config.num_draws
    keys = jax.random.split(key, num_draws)
    returns = imagined_returns(model, state, plans, keys, config.gamma, config.bootstrap)
    known = jnp.all(jnp.isfinite(returns), axis=1)
    value = jnp.where(known, jnp.mean(returns, axis=1), -jnp.inf)
    difference = jnp.where(known[:, None], returns - jnp.where(known[0], returns[0], 0), -jnp.inf)
    spread = jnp.where(known, jnp.std(difference, axis=1), 0.0) / jnp.sqrt(max(num_draws - 1, 1))
    gain = jnp.where(known[0], jnp.mean(difference, axis=1) - errors * spread, jnp.where(known, jnp.inf, -jnp.inf))
    return Judged(plans, value, gain)


def settle(model: Any, state: Any, judged: Judged, config: SearchConfig, key: jax.Array) -> Int[Array, "horizon"]:
    """Imagine plan 0 and the best few of the others again, and return the one to follow."""
    _, few = jax.lax.top_k(judged.value.at[0].set(-jnp.inf), min(_FEW, len(judged.value) - 1))
    plans = jnp.concatenate([judged.plans[:1], judged.plans[few]])
    return judge(model, state, plans, config, key, times=_TIMES, errors=2.0).best(config.tie)


def _drawn(key: jax.Array, logits: Float[Array, "horizon choices"], count: int) -> Int[Array, "count horizon"]:
    """Draw plans; choice 0 is BASE."""
    return jax.random.categorical(key, logits, shape=(count, logits.shape[0])) - 1


def _prior(model: Any, config: SearchConfig) -> Float[Array, "horizon choices"]:
    """Return the logits of plans before anything is known: BASE with probability `base_share`, else any action."""
    share = jnp.full(model.num_actions, (1 - config.base_share) / model.num_actions)
    return jnp.log(jnp.tile(jnp.concatenate([jnp.array([config.base_share]), share]), (config.horizon, 1)))


def shooting(model: Any, state: Any, config: SearchConfig, tried: Int[Array, "few horizon"], key: jax.Array) -> Array:
    """Draw plans at random and take the best of them and of those that are tried anyway, plan 0 first."""
    draw_key, judge_key, settle_key = jax.random.split(key, 3)
    plans = jnp.concatenate([tried, _drawn(draw_key, _prior(model, config), config.num_plans)])
    return settle(model, state, judge(model, state, plans, config, judge_key), config, settle_key)


def _refined(weigh: Callable[[Judged, SearchConfig], Float[Array, "plans"]]) -> Callable[..., Array]:
    def search(model: Any, state: Any, config: SearchConfig, tried: Int[Array, "few horizon"], key: jax.Array) -> Array:
        prior, judge_key = _prior(model, config), jax.random.fold_in(key, config.rounds)
        settle_key = jax.random.fold_in(key, config.rounds + 1)
        choices = jnp.arange(prior.shape[1]) - 1

        def refine(carry, draw_key):
            logits, best = carry
            drawn = _drawn(draw_key, logits, config.num_plans)
            judged = judge(model, state, jnp.concatenate([tried, best, drawn]), config, judge_key)
            weight = weigh(judged, config)
            share = jnp.einsum("p,phc->hc", weight, judged.plans[:, :, None] == choices)
            mixed = (1 - config.smoothing) * share + config.smoothing * jnp.exp(prior)
            return (jnp.log(mixed), judged.plans[jnp.argsort(-judged.value)[:_FEW]]), None

        draw_keys = jax.random.split(key, config.rounds)
        (_, best), _ = jax.lax.scan(refine, (prior, jnp.tile(tried[:1], (_FEW, 1))), draw_keys)
        return settle(
            model, state, judge(model, state, jnp.concatenate([tried, best]), config, judge_key), config, settle_key
        )

    return search


def _elites(judged: Judged, config: SearchConfig) -> Float[Array, "plans"]:
    """Weigh the best plans alike, the others not at all."""
    count = max(1, int(config.elite_share * config.num_plans))
    order = jnp.argsort(-judged.value)
    weight = jnp.zeros(len(order)).at[order[:count]].set(1.0) * jnp.isfinite(judged.value)
    return weight / jnp.maximum(jnp.sum(weight), 1e-9)


def _exponential(judged: Judged, config: SearchConfig) -> Float[Array, "plans"]:
    """Weigh every plan by exp(value / temperature)."""
    best = jnp.max(judged.value)
    weight = jnp.exp((judged.value - jnp.where(jnp.isfinite(best), best, 0.0)) / config.temperature)
    return weight / jnp.maximum(jnp.sum(weight), 1e-9)


cem = _refined(_elites)
mppi = _refined(_exponential)


def rollout(model: Any, state: Any, config: SearchConfig, tried: Int[Array, "few horizon"], key: jax.Array) -> Array:
    """Try short beginnings that are followed by the base policy."""
    length_key, draw_key, judge_key, settle_key = jax.random.split(key, 4)
    drawn = _drawn(draw_key, _prior(model, config), config.num_plans)
    length = jax.random.randint(length_key, (config.num_plans, 1), 1, config.beginning + 1)
    plans = jnp.concatenate([tried, jnp.where(jnp.arange(config.horizon) < length, drawn, BASE)])
    return settle(model, state, judge(model, state, plans, config, judge_key), config, settle_key)


SEARCHES = {"shooting": shooting, "cem": cem, "mppi": mppi, "rollout": rollout}


@struct.dataclass
class Remembered(Lookup):
    """Memory of a search at work: also the rest of the last plan."""

    plan: Int[Array, "horizon"]


def propose_nothing(obs: Array, horizon: int, after: int) -> Int[Array, "0 horizon"]:
    """Return no plan."""
    return jnp.zeros((0, horizon), jnp.int32)


@struct.dataclass
class SequencePlanner:
    """A policy that searches at every tick."""

    model: Any
    config: SearchConfig = struct.field(pytree_node=False)
    propose: Callable[..., Array] = struct.field(pytree_node=False, default=propose_nothing)
    """`(obs, horizon, BASE) -> plans` that are tried too, beside the base policy and the rest of the last plan."""

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Remembered:
        """Begin an episode."""
        return Remembered(**vars(Lookup.begin(obs)), plan=jnp.full(self.config.horizon, BASE))

    def act(self, memory: Remembered, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Array, Remembered]:
        """Search from what is seen; NOOP and a note in memory if that was not planned for."""
        state, found = self.model.find(obs)
        base = jnp.full((1, self.config.horizon), BASE)
        tried = jnp.concatenate([base, memory.plan[None], self.propose(obs, self.config.horizon, BASE)])
        plan = SEARCHES[self.config.search](self.model, state, self.config, tried, key)
        action = jnp.where(plan[0] == BASE, self.model.base[state], plan[0])
        memory = replace(memory, plan=jnp.append(plan[1:], BASE)).note(obs, found)
        return jnp.where(found, action, 0).astype(jnp.int32), memory
