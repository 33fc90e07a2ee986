"""Experience of environments: gathered by who learns from it, and remembered.

    acting = begin(env, params, num_envs, memory, key)
    acting, rows, ended, seen = act(choose, env, params, acting, num_steps, key)    # rows are [time, env, ...]
    replay = make_replay(num_envs, batch_size, length, capacity)
    memories = replay.add(replay.init(rows), rows)
    rows = replay.sample(memories, key)                                          # [length, batch_size, ...]

A transition is one row. Where an episode ended the next row begins another.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flashbax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int

from mbrl.types import Transition


class Row(NamedTuple):
    """A step of experience: what was seen, whether an episode began with it, what was done, and what that brought."""

    obs: Array
    first: Bool[Array, "*batch"]
    action: Int[Array, "*batch"]
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]


class Acting(NamedTuple):
    """Environments under way, and what is remembered of the episode in each."""

    env_state: Any
    obs: Array
    first: Bool[Array, "env"]
    memory: Any
    episode_return: Float[Array, "env"]


class Ended(NamedTuple):
    """The episodes that ended: the sum of their undiscounted returns, and how many they are."""

    return_sum: Float[Array, "*batch"]
    episodes: Int[Array, "*batch"]


def begin(env: Environment, env_params: Any, num_envs: int, memory: Any, key: jax.Array) -> Acting:
    """Begin an episode in every environment; `memory` is what their agents have at first, `[env, ...]`."""
    obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key, num_envs), env_params)
    return Acting(env_state, obs, jnp.ones(num_envs, bool), memory, jnp.zeros(num_envs))


def act(
    choose: Callable[..., tuple[Int[Array, "env"], Any]],
    env: Environment,
    env_params: Any,
    acting: Acting,
    num_steps: int,
    key: jax.Array,
    rewarded: Callable[..., Array] | None = None,
) -> tuple[Acting, Row, Ended, Transition]:
    """Advance all environments: `choose(memory, obs, first, key)` returns their actions and what is remembered.

    Rows are rewarded by the environment, or as `rewarded(state, reward, info)` says of ticks that began in `state`;
    transitions are as the environment has them.
    """

    def step(acting: Acting, key: jax.Array):
        act_key, env_key = jax.random.split(key)
        action, memory = choose(acting.memory, acting.obs, acting.first, act_key)
        step_keys = jax.random.split(env_key, len(acting.first))
        obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, (0, 0, 0, None))(
            step_keys, acting.env_state, action, env_params
        )
        gain = reward if rewarded is None else rewarded(acting.env_state, reward, info)
        row = Row(acting.obs, acting.first, action, gain, terminated, truncated)
        over, total = terminated | truncated, acting.episode_return + gain
        ended = Ended(jnp.sum(over * total), jnp.sum(over))
        seen = Transition(acting.obs, action, reward, info["final_observation"])
        return Acting(env_state, obs, over, memory, total * ~over), (row, ended, seen)

    acting, (rows, ended, seen) = jax.lax.scan(step, acting, jax.random.split(key, num_steps))
    return acting, rows, jax.tree.map(jnp.sum, ended), seen


def in_chunks(update: Callable[[Any, Any, jax.Array], tuple], keeps: bool) -> Callable[[Any, Any, int], tuple]:
    """Return the verb `update_chunk` of a learner whose `update(state, data, key)` number i uses `fold_in(key, i)`.

    An update returns state, metrics and the transitions that were seen, which a chunk hands on if it `keeps` them.
    """

    def update_chunk(state: Any, data: Any, num_updates: int):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, state.update + jnp.arange(num_updates))

        def step(state: Any, key: jax.Array):
            state, metrics, seen = update(state, data, key)
            return state, (metrics, seen if keeps else ())

        state, (metrics, seen) = jax.lax.scan(step, state, keys)
        return state, metrics, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), seen)

    return update_chunk


def in_minibatches(step: Callable[[Any, Any], tuple], carry: Any, batch: Any, config: Any, key: jax.Array) -> tuple:
    """Scan `step(carry, part)` over the minibatches of a batch, shuffled anew in every epoch; return carry and outputs.

    `config` says how many `num_epochs` and `num_minibatches` there are; the batch is parted along its first axis.
    """
    count = len(jax.tree.leaves(batch)[0])
    epoch_keys = jax.random.split(key, config.num_epochs)
    shuffled = jax.vmap(lambda key: jax.random.permutation(key, count))(epoch_keys)
    indices = shuffled.reshape(config.num_epochs * config.num_minibatches, -1)
    return jax.lax.scan(lambda carry, i: step(carry, jax.tree.map(lambda leaf: leaf[i], batch)), carry, indices)


class Replay(NamedTuple):
    """What was gathered last: `init(rows)` is empty, `add(memories, rows)`, `sample(memories, key) -> rows`."""

    init: Callable[[Row], Any]
    add: Callable[[Any, Row], Any]
    sample: Callable[[Any, jax.Array], Row]


def make_replay(num_envs: int, batch_size: int, length: int, capacity: int) -> Replay:
    """Make a memory of `capacity` rows, `batch_size` stretches of `length` drawn at once.

    Observations are kept as they are, but that numbers with a fraction take 16 bits.
    """
    buffer = flashbax.make_trajectory_buffer(
        num_envs, batch_size, length, 1, length, max_length_time_axis=capacity // num_envs
    )
    turn = partial(jax.tree.map, lambda leaf: leaf.swapaxes(0, 1))

    def short(rows: Row) -> Row:
        is_float = jnp.issubdtype(rows.obs.dtype, jnp.floating)
        return rows._replace(obs=rows.obs.astype(jnp.float16) if is_float else rows.obs)

    def sample(memories: Any, key: jax.Array) -> Row:
        rows = turn(buffer.sample(memories, key).experience)
        return rows._replace(obs=rows.obs.astype(jnp.float32) if rows.obs.dtype == jnp.float16 else rows.obs)

    return Replay(
        lambda rows: buffer.init(jax.tree.map(lambda leaf: leaf[0, 0], short(rows))),
        lambda memories, rows: buffer.add(memories, turn(short(rows))),
        sample,
    )


def columns_of(ended: Ended) -> dict[str, np.ndarray]:
    """Return what a chunk's ends `[lanes, updates]` say of each lane: the mean return, nan without an episode."""
    episodes = np.asarray(ended.episodes).sum(1)
    mean = np.where(episodes > 0, np.asarray(ended.return_sum).sum(1) / np.maximum(episodes, 1), np.nan)
    return {"return": mean, "episodes": episodes}
