"""An agent that does what others did: a policy cloned from recorded behaviour, and what tuning by reward makes of it.

    corpus of (what was seen, what was done) ─► cross-entropy ─► policy ─► PPO, from there on ─► policy

    L = −E[log π(aₜ | sₜ)]

Reference: Pomerleau, 1989, ALVINN: An Autonomous Land Vehicle in a Neural Network (behavioural cloning).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Int, UInt8

from mbrl.agents.floor_network import FloorNetwork
from mbrl.agents.ppo import PPOPolicy, hold_then_fall, schedules, stack_parameters
from mbrl.agents.ppo import make_learner as make_ppo
from mbrl.configs import PPOConfig
from mbrl.model_free import CloneConfig
from mbrl.networks import FitState, TrainState
from mbrl.types import Learner, Rates


class Corpus(NamedTuple):
    """Recorded behaviour."""

    obs: UInt8[np.ndarray, "n height width 4"]
    action: Int[np.ndarray, "n"]


def make_optimizer(config: CloneConfig, rates: Rates) -> optax.GradientTransformation:
    """Make Adam, whose learning rate is held and then falls."""
    falling = hold_then_fall(rates.learning_rate, hold_share=config.hold_share, num_steps=config.clone_steps)
    return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.adam(falling, eps=1e-5))


class Recorded(NamedTuple):
    """A corpus; of every moment which acts would stop people; and the counts of what happened."""

    corpus: Corpus
    stops: Bool[np.ndarray, "n 5"]
    counts: dict[str, int]


@cache
def make_learner(config: CloneConfig) -> Learner:
    """Make the verbs of cloning; `data` is a `Corpus`."""
    optimizer = partial(make_optimizer, config)

    def init(key: jax.Array, data: Any, rates: Rates) -> FitState:
        model_key, batch_key = jax.random.split(key)
        model = FloorNetwork(config.hidden_sizes, PPOConfig.return_scale, key=model_key)
        return FitState(TrainState.create(model, optimizer(rates)), batch_key, rates)

    def update_chunk(state: FitState, data: Corpus, num_updates: int):
        steps = state.train.step + jnp.arange(num_updates)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, steps)
        optimise = optimizer(state.rates)

        def step(train: TrainState, key: jax.Array):
            drawn = jax.random.randint(key, (config.batch_size,), 0, len(data.action))
            value, gradients = jax.value_and_grad(loss)(train.model, data.obs[drawn], data.action[drawn])
            return train.apply_gradients(gradients, optimise), value

        train, losses = jax.lax.scan(step, state.train, keys)
        return state._replace(train=train), losses, ()

    def loss(model: FloorNetwork, obs: Array, action: Array) -> Array:
        distribution, _ = jax.vmap(model)(obs)
        return -jnp.mean(distribution.log_prob(action.astype(jnp.int32)))

    rows = lambda losses: {"loss": losses.mean(1)}  # noqa: E731
    return Learner(init, update_chunk, lambda state: PPOPolicy(state.train.model), rows, stack_parameters)


class Begun(NamedTuple):
    """What somebody learns from who has learnt already: data as for who has not; and the policy to begin with."""

    data: Any
    policy: PPOPolicy


@cache
def make_tuner(config: PPOConfig, env: Environment, rewarded: Callable[..., Array] | None = None) -> Learner:
    """Make the verbs of PPO that begins with a policy; `data` is `Begun`, with an environment's parameters."""
    optimizer, _ = schedules(config)
    return _going_on(make_ppo(config, env, True, rewarded), lambda state, train: replace(state, train=train), optimizer)


@cache
def make_relearner(config: CloneConfig) -> Learner:
    """Make the verbs of cloning that begins with a policy; `data` is `Begun`, with a corpus."""
    optimizer = partial(make_optimizer, config)
    return _going_on(make_learner(config), lambda state, train: state._replace(train=train), optimizer)


def _going_on(learner: Learner, begin: Callable[[Any, TrainState], Any], optimizer: Callable[..., Any]) -> Learner:
    def init(key: jax.Array, data: Begun, rates: Rates):
        return begin(learner.init(key, data.data, rates), TrainState.create(data.policy.model, optimizer(rates)))

    def update_chunk(state: Any, data: Begun, num_updates: int):
        return learner.update_chunk(state, data.data, num_updates)

    return learner._replace(init=init, update_chunk=update_chunk)
