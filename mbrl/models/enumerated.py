"""The rules of any gymnax environment whose observations tell its states apart, as a decision process in tables.

    world = enumerate_environment(env, params)          # on the host: all that can come of all beginnings
    solve_graph(world.process, gamma)                   # see `envs.values`
    Table.of(world.process, base, gamma, array_key)     # for planners

Chance is met by drawing: every action is tried `num_draws` times in every state. What is certain is so exact, and a
probability p is off by about √(p (1 − p) / num_draws). Where an episode ends, state 0 follows for ever.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, UInt32
from scipy.sparse import csr_array, eye_array, kron
from scipy.sparse.linalg import spsolve

from envs.keys import KeyIndex, whole_keys
from envs.packing import call_padded, pad_rows
from envs.values import DecisionProcess

_CHUNK = 32
END = np.uint64(2**64 - 1)
"""The key of what follows the end of an episode, which nobody sees."""


class World(NamedTuple):
    """A decision process and what its states look like, `obs` `[states, ...]`; episodes begin in those of `start`."""

    process: DecisionProcess
    obs: np.ndarray


def array_key(obs: Array) -> UInt32[Array, "2"]:
    """Return a key of 64 bits of any array as two words (pure, under jit): equal arrays alone share it, but for luck.

    Every number is mixed with its place by the finaliser of MurmurHash3 (Appleby, 2011), and all are added up.
    """
    numbers = obs.reshape(-1)
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        numbers = jax.lax.bitcast_convert_type(numbers.astype(jnp.float32) + 0.0, jnp.uint32)
    numbers, place = numbers.astype(jnp.uint32), jnp.arange(1, numbers.size + 1, dtype=jnp.uint32)
    halves = [_mixed(numbers + place * jnp.uint32(factor)) for factor in (0x9E3779B1, 0x85EBCA77)]
    return jnp.stack([jnp.sum(half, dtype=jnp.uint32) for half in halves])


def _mixed(word: UInt32[Array, "n"]) -> UInt32[Array, "n"]:
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)


def enumerate_environment(
    env: Environment, params: Any, num_draws: int = 4096, seed: int = 0, max_states: int = 20_000
) -> World:
    """Enumerate what every action leads to, from all beginnings that are drawn.

    Args:
        env, params: the environment; its observations have to tell its states apart.
        num_draws: how often each action is tried in each state, and how many beginnings are drawn.
        seed: of these draws.
        max_states: budget.

    Raises:
        ValueError: more states than the budget can be reached.
    """
    key, count = jax.random.key(seed), env.num_actions
    first_keys = jax.random.split(key, num_draws)
    obs, states = jax.tree.map(np.asarray, jax.jit(jax.vmap(env.reset_env, (0, None)))(first_keys, params))
    known = KeyIndex()
    known.find_or_add(np.array([END]))
    start, fresh = known.find_or_add(array_keys(obs))
    seen, pending = [np.zeros_like(obs[:1]), obs[fresh]], _take(states, fresh)
    pairs, children, chances = [np.arange(count)], [np.zeros(count, int)], [np.ones(count)]
    rewards, first = [np.zeros((1, count))], 1
    while len(seen[-1]):
        found = []
        for i in range(0, len(seen[-1]), _CHUNK):
            after, states, reward, ended = _expand(
                env, params, _take(pending, slice(i, i + _CHUNK)), jax.random.fold_in(key, first + i), num_draws
            )
            number, fresh = known.find_or_add(np.where(ended, END, array_keys(after)))
            if len(known) > max_states:
                raise ValueError(f"env: more than {max_states} states can be reached, beyond the budget")
            pair = np.repeat(np.arange(len(number) // num_draws), num_draws) + (first + i) * count
            code, times = np.unique(pair << 32 | number, return_counts=True)
            pairs.append(code >> 32)
            children.append(code & 0xFFFFFFFF)
            chances.append(times / num_draws)
            rewards.append(reward.reshape(-1, count, num_draws).mean(2))
            found.append((after[fresh], _take(states, fresh)))
        first += len(seen[-1])
        obs, pending = jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)
        seen.append(obs)
    everything, places = np.concatenate(seen), (np.concatenate(pairs), np.concatenate(children))
    process = DecisionProcess(
        key=np.concatenate([[END], array_keys(everything[1:])]),
        start=start.astype(np.int32),
        transition=csr_array((np.concatenate(chances), places), shape=(len(everything) * count, len(everything))),
        reward=np.concatenate(rewards).astype(np.float64),
    )
    return World(process, everything)


def _take(states: Any, index: np.ndarray | slice) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], states)


def _expand(env: Environment, params: Any, states: Any, key: jax.Array, num_draws: int) -> Any:
    """Return what follows of states, actions and draws, in this order along one axis: obs, states, rewards, ends."""
    size = len(jax.tree.leaves(states)[0])
    padded = jax.tree.map(lambda leaf: pad_rows(leaf, _CHUNK), states)
    found = _try_all(env, params, padded, jax.random.split(key, (_CHUNK, num_draws)))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:size].reshape(-1, *leaf.shape[3:]), found)


@partial(jax.jit, static_argnums=0)
def _try_all(env: Environment, params: Any, states: Any, keys: jax.Array):
    """Try every action with every key `[states, draws]` of a state: what follows, `[states, actions, draws, ...]`."""

    def attempt(state, action, key):
        obs, state, reward, ended, _ = env.step_env(key, state, action, params)
        return obs, state, jnp.asarray(reward, jnp.float32), ended

    over_keys = jax.vmap(attempt, (None, None, 0))
    over_actions = jax.vmap(over_keys, (None, 0, None))
    return jax.vmap(over_actions, (0, None, 0))(states, jnp.arange(env.num_actions), keys)


def array_keys(obs: np.ndarray) -> np.ndarray:
    """Return the keys `uint64[n]` of arrays."""
    return whole_keys(call_padded(_all_keys, obs))


_all_keys = jax.jit(jax.vmap(array_key))


def base_policy(process: DecisionProcess, gamma: float) -> np.ndarray:
    """Return a policy to complete plans by where there is no habit: one step of improvement over acting at random.

    Reference: Howard, 1960, Dynamic Programming and Markov Processes (policy iteration, its first round).
    """
    states, actions = process.reward.shape
    chain = kron(eye_array(states), np.full((1, actions), 1 / actions)).tocsr() @ process.transition
    value = spsolve((eye_array(states) - gamma * chain).tocsc(), process.reward.mean(1))
    return (process.reward + gamma * (process.transition @ value).reshape(states, actions)).argmax(axis=1)
