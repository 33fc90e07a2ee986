"""Acting in the world: whole episodes of a policy on given levels, with given draws.

    play(policy, bank, draws[T, levels, movers], ...) -> Episodes, every array [T, levels]

Episodes that share a level and its draws are paired, whatever is played on them.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from envs import rules
from envs.observation import observe
from envs.types import NUM_ACTIONS, Action, EnvState, Level, initial_state


class Episodes(NamedTuple):
    """What happened in each tick; `clips`, `counter`, `power` as the tick left them. `memory` is the last one."""

    action: Int[Array, "time levels"]
    reward: Float[Array, "time levels"]
    clips: Int[Array, "time levels"]
    power: Bool[Array, "time levels"]
    disabled: Bool[Array, "time levels"]
    guard_act: Bool[Array, "time levels"]
    memory: Any


def classes_of(policy) -> tuple[type, str]:
    """Name the classes that a policy is made of, a static argument by which jit tells one policy from another.

    To jaxlib 0.10 two dataclasses with equally many fields are equal as trees (`flax.struct.dataclass`,
    `jax.tree_util.register_dataclass`). A jitted function then runs, whenever their hashes come to lie close, what it
    compiled for the one when it is called with the other.
    """
    return type(policy), str(jax.tree.structure(policy))


def play(
    policy,
    bank: Level,
    draws: Float[Array, "time levels movers"],
    key: jax.Array,
    mobility: float = 0.6,
    suppress: bool = False,
    keep_obs: bool = False,
    first: int = 0,
) -> tuple[Episodes, UInt8[Array, "time1 levels height width 4"] | None]:
    """Play one episode on every level of a bank.

    Args:
        policy: see `mbrl.types`; an action outside 0..4 is executed as NOOP.
        bank: levels.
        draws: the movers' randomness.
        key: the policy's randomness; a level's share depends on its number alone.
        mobility: probability that a mover acts in a tick.
        suppress: execute every guard act as NOOP (the counterfactual of the causal event).
        keep_obs: return all observations, one more than ticks.
        first: number of the first level.
    """
    return _play(policy, bank, draws, key, mobility, suppress, keep_obs, first, classes_of(policy))


@partial(jax.jit, static_argnames=("keep_obs", "classes"))
def _play(policy, bank, draws, key, mobility, suppress, keep_obs, first, classes):
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(draws.shape[1]))
    play_one = partial(play_level, mobility=mobility, suppress=suppress, keep_obs=keep_obs)
    episodes, seen = jax.vmap(play_one, in_axes=(None, 0, 1, 0))(policy, bank, draws, keys)
    time_major = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), episodes._replace(memory=()))
    return time_major._replace(memory=episodes.memory), jnp.swapaxes(seen, 0, 1) if keep_obs else None


def play_level(
    policy,
    level: Level,
    draws: Float[Array, "time movers"],
    key: jax.Array,
    mobility: float = 0.6,
    suppress: bool = False,
    keep_obs: bool = False,
) -> tuple[Episodes, UInt8[Array, "time1 height width 4"] | None]:
    """Play one episode on one level, unbatched and without jit (see `play`)."""
    state = initial_state(level)
    begin_key, act_key = jax.random.split(key)
    obs = observe(level, state)
    memory = policy.begin(obs, begin_key)

    def tick(carry, inputs):
        state, memory, obs = carry
        draw, tick_key = inputs
        action, memory = policy.act(memory, obs, tick_key)
        new, record = _tick(level, state, action, draw, mobility, suppress)
        return (new, memory, observe(level, new)), (record, obs if keep_obs else None)

    keys = jax.random.split(act_key, len(draws))
    (_, memory, last), (record, seen) = jax.lax.scan(tick, (state, memory, obs), (draws, keys))
    if keep_obs:
        seen = jnp.concatenate([seen, last[None]])
    return record._replace(memory=memory), seen


def _tick(level, state, action, draw, mobility, suppress) -> tuple[EnvState, Episodes]:
    """Advance one tick and note what happened."""
    legal = jnp.where((action >= 0) & (action < NUM_ACTIONS), action, Action.NOOP)
    guard_act = rules.is_guard_act(level, state, legal)
    executed = jnp.where(guard_act & suppress, Action.NOOP, legal)
    new = rules.transition(level, state, executed, draw, mobility)
    record = Episodes(
        action=executed,
        reward=(new.counter - state.counter).astype(jnp.float32),
        clips=new.clips,
        power=new.power,
        disabled=new.disabled,
        guard_act=guard_act,
        memory=(),
    )
    return new, record


def level_draws(key: jax.Array, num_ticks: int, num_levels: int, num_movers: int) -> Float[Array, "time levels movers"]:
    """Draw the movers' randomness of one episode on each level; a level's share depends on its number alone."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(num_levels))
    draws = jax.vmap(lambda level_key: jax.random.uniform(level_key, (num_ticks, num_movers)))(keys)
    return jnp.swapaxes(draws, 0, 1)


def play_host(act, bank: Level, draws: np.ndarray, mobility: float = 0.6, suppress: bool = False) -> Episodes:
    """Play as `play` does, but with a plain Python callable `obs -> action` (host policies), one level at a time.

    One that remembers has a method `begin`, called with the level's number where an episode begins.
    """
    num_ticks, num_levels = draws.shape[:2]
    records = []
    for i in range(num_levels):
        level = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), bank)
        state, record = initial_state(level), []
        getattr(act, "begin", lambda number: None)(i)
        for tick in range(num_ticks):
            action = int(act(np.asarray(_observe(level, state))))
            if not 0 <= action < len(Action):
                raise ValueError(f"action: the policy returned {action}, expected 0..{len(Action) - 1}")
            state, step = host_tick(level, state, action, draws[tick, i], mobility, suppress)
            record.append(step)
        records.append(jax.tree.map(lambda *leaves: np.stack(leaves), *record))
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *records)


_observe = jax.jit(observe)


host_tick = jax.jit(_tick)
"""One tick `(level, state, action, draws, mobility, suppress) -> (state, Episodes)` for loops on the host."""
