"""`dense` on any gymnax environment: a perceptron that says which of the things that have happened happens next.

    met = explore(env, params, config, seed)               # by acting at random
    train_lanes(make_learner(config, encoder), …)          # learns P(outcome | obs, action)
    process = foreseen(model, encoder, met, floor)         # what it expects of all that was met, whatever is done

An outcome is an observation, or the end, with a reward. Given is that observations tell states apart, and that no
outcome comes that has not been met. What follows is learnt from the features of an observation (encoders.py) and the
action, so that pairs which were never tried are answered, too.
"""

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_array

from envs.keys import KeyIndex
from envs.packing import bucket, pad_rows
from envs.values import DecisionProcess
from mbrl.controllers import ObservedConfig
from mbrl.encoders import Encoder
from mbrl.keys import purpose_key
from mbrl.models.enumerated import END, array_keys
from mbrl.networks import MLP, FitState, TrainState
from mbrl.types import Learner, Rates


class Met(NamedTuple):
    """What a seed has met.

    Attributes:
        obs, key: distinct observations `[n, ...]` and their keys; the first is zeros and stands for an end.
        start: numbers of those with which episodes began.
        state, action, outcome: numbers of what was seen, done and came of it, in every transition `[t]`.
        next_state, reward: of the distinct outcomes `[o]`.
    """

    obs: np.ndarray
    key: np.ndarray
    start: np.ndarray
    state: np.ndarray
    action: np.ndarray
    outcome: np.ndarray
    next_state: np.ndarray
    reward: np.ndarray


def explore(env: Environment, params: Any, config: ObservedConfig, seed: int) -> Met:
    """Act at random for `num_transitions` steps in all."""
    num_steps = -(-config.num_transitions // config.num_envs)
    first, seen = _wander(env, params, purpose_key(seed, "experience"), num_steps, config.num_envs)
    first = np.asarray(first)
    obs, action, reward, next_obs, ended = (
        np.asarray(part).reshape(-1, *part.shape[2:])[: config.num_transitions] for part in seen
    )
    known = KeyIndex()
    known.find_or_add(np.array([END]))
    keys = [array_keys(first), array_keys(obs), np.where(ended, END, array_keys(next_obs))]
    number, fresh = known.find_or_add(np.concatenate(keys))
    start, state, next_state = np.split(number, np.cumsum([len(part) for part in keys])[:-1])
    distinct = np.concatenate([first, obs, next_obs])[fresh]
    outcomes, outcome = np.unique(np.stack([next_state, reward], axis=1), axis=0, return_inverse=True)
    return Met(
        obs=np.concatenate([np.zeros_like(first[:1]), distinct]),
        key=np.concatenate([[END], np.concatenate(keys)[fresh]]),
        start=start,
        state=state.astype(np.int32),
        action=action.astype(np.int32),
        outcome=outcome.reshape(-1).astype(np.int32),
        next_state=outcomes[:, 0].astype(np.int32),
        reward=outcomes[:, 1],
    )


@partial(jax.jit, static_argnames=("env", "num_steps", "num_envs"))
def _wander(env: Environment, params: Any, key: jax.Array, num_steps: int, num_envs: int):
    """Return the first observations, and of every step `[steps, envs]` obs, action, reward, next obs and whether the
    episode ended."""
    reset_key, run_key = jax.random.split(key)
    first, states = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, num_envs), params)

    def tick(carry, key):
        obs, states = carry
        act_key, step_key = jax.random.split(key)
        action = jax.random.randint(act_key, (num_envs,), 0, env.num_actions)
        step_keys = jax.random.split(step_key, num_envs)
        after, states, reward, ended, _, info = jax.vmap(env.step, (0, 0, 0, None))(step_keys, states, action, params)
        return (after, states), (obs, action, reward, info["final_observation"], ended)

    return first, jax.lax.scan(tick, (first, states), jax.random.split(run_key, num_steps))[1]


class ObservedModel(nnx.Module):
    """Of features and an action: logits of all outcomes."""

    def __init__(self, num_features: int, num_actions: int, num_outcomes: int, config: ObservedConfig, key: jax.Array):
        sizes = (num_features + num_actions, *config.hidden_sizes, num_outcomes)
        self.mlp = MLP(sizes, final_scale=0.01, key=key)
        self.num_actions = num_actions

    def __call__(self, features: Float[Array, "features"], action: Int[Array, ""]) -> Float[Array, "outcomes"]:
        """Return the logits (unbatched)."""
        return self.mlp(jnp.concatenate([features, jax.nn.one_hot(action, self.num_actions)]))


@cache
def make_learner(config: ObservedConfig, encoder: Encoder, num_actions: int) -> Learner:
    """Make the verbs of training on stacked experience (see `stack_met`): L = −E[log q(outcome | obs, action)]."""

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(rates.learning_rate, config.num_steps, 0.02))

    def init(key: jax.Array, data: Any, rates: Rates) -> FitState:
        init_key, batch_key = jax.random.split(key)
        obs, *_, exists = data
        features = encoder.size(obs[0])
        model = ObservedModel(features, num_actions, len(exists), config, init_key)
        return FitState(TrainState.create(model, optimizer(rates)), batch_key, rates)

    def update_chunk(state: FitState, data: Any, num_updates: int):
        steps = state.train.step + jnp.arange(num_updates)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, steps)
        train, losses = jax.lax.scan(partial(update, data, optimizer(state.rates)), state.train, keys)
        return state._replace(train=train), losses, ()

    def update(data, optimise, train: TrainState, key: jax.Array):
        index = jax.random.randint(key, (config.batch_size,), 0, len(data[1]))
        surprise, gradients = jax.value_and_grad(loss)(train.model, data, index)
        return train.apply_gradients(gradients, optimise), surprise

    def loss(model: ObservedModel, data: Any, index: Array):
        obs, state, action, outcome, exists = data
        logits = jax.vmap(model)(jax.vmap(encoder)(obs[state[index]]), action[index])
        logits = jnp.where(exists, logits, -1e9)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, outcome[index]))

    def rows(losses: np.ndarray) -> dict[str, np.ndarray]:
        return {"loss": losses.mean(1)}

    return Learner(init, update_chunk, lambda state: state.train.model, rows, stack_met)


def stack_met(parts: list[Met]) -> tuple[np.ndarray, ...]:
    """Stack what several lanes met, padded to few sizes: obs, transitions, which outcomes exist."""
    count = bucket(max(len(part.key) for part in parts), 64)
    outcomes = bucket(max(len(part.reward) for part in parts), 64)
    obs = np.stack([pad_rows(part.obs, count) for part in parts])
    exists = np.stack([np.arange(outcomes) < len(part.reward) for part in parts])
    return obs, *(np.stack([getattr(part, name) for part in parts]) for name in ("state", "action", "outcome")), exists


def foreseen(model: ObservedModel, encoder: Encoder, met: Met, floor: float) -> DecisionProcess:
    """Return what a model expects: outcomes less probable than `floor` are dropped, rewards below it count as 0."""
    count, actions = len(met.key), model.num_actions
    logits = _answers(model, encoder, jnp.asarray(met.obs))[..., : len(met.reward)]
    chance = np.array(jax.nn.softmax(logits), np.float64).reshape(count * actions, -1)
    chance[(chance < floor) & (chance < chance.max(1, keepdims=True))] = 0
    chance /= chance.sum(1, keepdims=True)
    reward = chance @ met.reward
    follows = csr_array(chance) @ csr_array(np.eye(count)[met.next_state])
    is_end = np.arange(count * actions) < actions  # an end lasts
    follows = csr_array(np.where(is_end[:, None], np.eye(1, count), follows.toarray()))
    reward = np.where(is_end | (np.abs(reward) < floor), 0, reward).reshape(count, actions)
    return DecisionProcess(met.key, met.start.astype(np.int32), follows, reward)


@partial(jax.jit, static_argnames="encoder")
def _answers(model: ObservedModel, encoder: Encoder, obs: Array):
    over_actions = jax.vmap(model, (None, 0))
    return jax.vmap(over_actions, (0, None))(jax.vmap(encoder)(obs), jnp.arange(model.num_actions))
