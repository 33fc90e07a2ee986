"""Proximal policy optimisation: the agent that learns what to do without learning what the world does.

    roll out T steps of N environments  →  advantages  →  E epochs of M minibatches  →  again

        L = −E[min(ρₜ Aₜ, clip(ρₜ, 1 − ε, 1 + ε) Aₜ)] + c_v E[½ ((V(sₜ) − Gₜ) / scale)²] − c_e E[H(π(·|sₜ))]
        ρₜ = π(aₜ|sₜ) / π_old(aₜ|sₜ)

Reference: Schulman, Wolski, Dhariwal, Radford and Klimov, 2017, Proximal Policy Optimization Algorithms, eqs. 7 and 9.

    config = PPOConfig(total_steps=500_000)
    train = make_train(config, env)
    result = train(key, env_params)                           # pure: jit it, vmap it over (key, env_params)
    results = train_seeds(config, env, keys, env_params, progress=print)      # the same for all seeds, in chunks

Arrays are time-major `[T, N, ...]`; a seed more is a leading axis that `vmap` adds.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int

from mbrl.networks import ActorCritic, TrainState
from mbrl.returns import generalised_advantages


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults are tuned for the factory's training families on one CPU core.

    Attributes:
        total_steps: environment steps per seed, rounded down to whole updates.
        num_envs, num_steps: N environments advance T steps per update.
        num_epochs, num_minibatches: how often and in how many parts each rollout is learnt from.
        learning_rate: of Adam, falling linearly to `final_learning_rate · learning_rate` at the last update.
        gamma, gae_lambda: discount per step and λ of the advantages.
        clip: ε, how far the policy may leave the one that acted.
        entropy_coefficient, value_coefficient: c_e and c_v.
        max_gradient_norm: bound on the norm of the whole gradient.
        return_scale: typical size of a discounted return; values are learnt in units of it, so that their gradient
            does not drown the policy's.
        hidden_sizes: widths of the torso's layers.
        updates_per_chunk: upper bound on the updates between two looks of the host.
    """

    total_steps: int = 1_000_000
    num_envs: int = 256
    num_steps: int = 16
    num_epochs: int = 2
    num_minibatches: int = 16
    learning_rate: float = 2e-3
    final_learning_rate: float = 0.0
    gamma: float = 0.97
    gae_lambda: float = 0.8
    clip: float = 0.2
    entropy_coefficient: float = 0.005
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    return_scale: float = 4.0
    hidden_sizes: tuple[int, ...] = (128, 128)
    updates_per_chunk: int = 16

    def __post_init__(self):
        for name in ("num_envs", "num_steps", "num_epochs", "num_minibatches", "updates_per_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: {getattr(self, name)} is too small, expected at least 1")
        for name in ("gamma", "gae_lambda", "final_learning_rate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}: {getattr(self, name)} is out of range, expected 0..1")
        for name in ("learning_rate", "clip", "max_gradient_norm", "return_scale"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} is not positive")
        for name in ("entropy_coefficient", "value_coefficient"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name}: {getattr(self, name)} is negative")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes: {self.hidden_sizes}, expected one positive width or more")
        if self.batch_size % self.num_minibatches:
            raise ValueError(
                f"num_minibatches: {self.num_minibatches} does not divide num_envs · num_steps = {self.batch_size}"
            )
        if self.total_steps < self.batch_size:
            raise ValueError(f"total_steps: {self.total_steps} is less than one update of {self.batch_size} steps")

    @property
    def batch_size(self) -> int:
        """Environment steps per update."""
        return self.num_envs * self.num_steps

    @property
    def num_updates(self) -> int:
        """Updates of a whole training run."""
        return self.total_steps // self.batch_size

    @property
    def chunk(self) -> int:
        """Updates per call of the host loop: the largest divisor of `num_updates` within `updates_per_chunk`."""
        return max(k for k in range(1, self.updates_per_chunk + 1) if self.num_updates % k == 0)


@struct.dataclass
class PPOPolicy:
    """What PPO has learnt, under the project's protocol; it needs no memory. `greedy` takes the likeliest action."""

    model: ActorCritic
    greedy: bool = struct.field(pytree_node=False, default=False)

    def begin(self, obs: jax.Array, key: jax.Array) -> tuple[()]:
        """Begin an episode."""
        return ()

    def act(self, memory: tuple[()], obs: jax.Array, key: jax.Array) -> tuple[Int[Array, ""], tuple[()]]:
        """Choose an action at `obs` (unbatched)."""
        distribution, _ = self.model(obs)
        return (distribution.mode() if self.greedy else distribution.sample(key)), memory


class PPOMetrics(NamedTuple):
    """What one update, or a stack of them, reports."""

    return_sum: Float[Array, "*batch"]
    """Sum of the undiscounted returns of the episodes that ended."""
    episodes: Int[Array, "*batch"]
    policy_loss: Float[Array, "*batch"]
    value_loss: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    clip_fraction: Float[Array, "*batch"]

    def mean_return(self) -> Float[Array, "*batch"]:
        """Return the mean return of the episodes that ended, nan where none did."""
        return jnp.where(self.episodes > 0, self.return_sum / jnp.maximum(self.episodes, 1), jnp.nan)


class PPOResult(NamedTuple):
    """A trained policy and how it came about: `curve` has one entry per update."""

    policy: PPOPolicy
    curve: PPOMetrics


class Decision(NamedTuple):
    """One step of one environment, with what the acting policy thought of it; stackable."""

    obs: Array
    action: Int[Array, "*batch"]
    log_prob: Float[Array, "*batch"]
    value: Float[Array, "*batch"]
    next_value: Float[Array, "*batch"]
    reward: Float[Array, "*batch"]
    terminated: Bool[Array, "*batch"]
    truncated: Bool[Array, "*batch"]


@struct.dataclass
class PPOState:
    """A training run at rest between two updates; `key` is constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    env_state: Any
    obs: Array
    episode_return: Float[Array, "env"]
    key: jax.Array
    update: Int[Array, ""]


class Learner(NamedTuple):
    """The verbs of training, pure and vmappable over all but `num_updates`.

    `init(key, env_params) -> state`; `update_chunk(state, env_params, num_updates) -> state, metrics[num_updates]`.
    """

    init: Callable[[jax.Array, Any], PPOState]
    update_chunk: Callable[[PPOState, Any, int], tuple[PPOState, PPOMetrics]]


def make_learner(config: PPOConfig, env: Environment) -> Learner:
    """Make the verbs of training from which `make_train` and `train_seeds` are composed."""
    schedule = optax.linear_schedule(
        config.learning_rate,
        config.learning_rate * config.final_learning_rate,
        config.num_updates * config.num_epochs * config.num_minibatches,
    )
    optimizer = optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), optax.adam(schedule, eps=1e-5))

    def init(key: jax.Array, env_params: Any) -> PPOState:
        model_key, reset_key, run_key = jax.random.split(key, 3)
        reset_keys = jax.random.split(reset_key, config.num_envs)
        obs, env_state = jax.vmap(env.reset, in_axes=(0, None))(reset_keys, env_params)
        model = ActorCritic(obs[0], env.num_actions, config.hidden_sizes, config.return_scale, key=model_key)
        return PPOState(
            train=TrainState.create(model, optimizer),
            env_state=env_state,
            obs=obs,
            episode_return=jnp.zeros(config.num_envs),
            key=run_key,
            update=jnp.int32(0),
        )

    def update_chunk(state: PPOState, env_params: Any, num_updates: int) -> tuple[PPOState, PPOMetrics]:
        update_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, state.update + jnp.arange(num_updates))
        return jax.lax.scan(lambda state, key: update(state, env_params, key), state, update_keys)

    def update(state: PPOState, env_params: Any, key: jax.Array) -> tuple[PPOState, PPOMetrics]:
        rollout_key, epochs_key = jax.random.split(key)
        state, decisions, (return_sum, episodes) = rollout(state, env_params, rollout_key)
        advantages = jax.vmap(generalised_advantages, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
            decisions.reward,
            decisions.value,
            decisions.next_value,
            decisions.terminated,
            decisions.truncated,
            config.gamma,
            config.gae_lambda,
        )
        batch = (decisions, advantages, advantages + decisions.value)
        batch = jax.tree.map(lambda leaf: leaf.reshape(config.batch_size, *leaf.shape[2:]), batch)
        train, losses = learn(state.train, batch, epochs_key)
        metrics = PPOMetrics(return_sum, episodes, *(jnp.mean(loss) for loss in losses))
        return replace(state, train=train, update=state.update + 1), metrics

    def rollout(state: PPOState, env_params: Any, key: jax.Array):
        model = state.train.model

        def step(carry, keys):
            env_state, obs, episode_return = carry
            act_key, env_key = keys
            distribution, value = jax.vmap(model)(obs)
            action = distribution.sample(act_key)
            step_keys = jax.random.split(env_key, config.num_envs)
            next_obs, env_state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                step_keys, env_state, action, env_params
            )
            # The environment has already reset itself where an episode ended: next_obs belongs to the next one there.
            _, next_value = jax.vmap(model)(info["final_observation"])
            decision = Decision(
                obs, action, distribution.log_prob(action), value, next_value, reward, terminated, truncated
            )
            ended = terminated | truncated
            episode_return = episode_return + reward
            finished = (jnp.sum(ended * episode_return), jnp.sum(ended))
            return (env_state, next_obs, episode_return * ~ended), (decision, finished)

        step_keys = jax.random.split(key, (config.num_steps, 2))
        carry = (state.env_state, state.obs, state.episode_return)
        (env_state, obs, episode_return), (decisions, finished) = jax.lax.scan(step, carry, step_keys)
        state = replace(state, env_state=env_state, obs=obs, episode_return=episode_return)
        return state, decisions, jax.tree.map(jnp.sum, finished)

    def learn(train: TrainState, batch: Any, key: jax.Array):
        def minibatch_step(train, indices):
            minibatch = jax.tree.map(lambda leaf: leaf[indices], batch)
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, *minibatch)
            return train.apply_gradients(gradients, optimizer), losses

        epoch_keys = jax.random.split(key, config.num_epochs)
        shuffled = jax.vmap(lambda key: jax.random.permutation(key, config.batch_size))(epoch_keys)
        return jax.lax.scan(minibatch_step, train, shuffled.reshape(config.num_epochs * config.num_minibatches, -1))

    def loss(model: ActorCritic, decisions: Decision, advantages: Array, returns: Array):
        distribution, values = jax.vmap(model)(decisions.obs)
        ratio = jnp.exp(distribution.log_prob(decisions.action) - decisions.log_prob)
        advantages = (advantages - jnp.mean(advantages)) / (jnp.std(advantages) + 1e-8)
        clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
        policy_loss = -jnp.mean(jnp.minimum(ratio * advantages, clipped * advantages))
        value_loss = 0.5 * jnp.mean(((values - returns) / config.return_scale) ** 2)
        entropy = jnp.mean(distribution.entropy())
        clip_fraction = jnp.mean(jnp.abs(ratio - 1.0) > config.clip)
        total = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * entropy
        return total, (policy_loss, value_loss, entropy, clip_fraction)

    return Learner(init, update_chunk)


def make_train(config: PPOConfig, env: Environment) -> Callable[[jax.Array, Any], PPOResult]:
    """Make `train(key, env_params) -> PPOResult`, pure and vmappable over both."""
    learner = make_learner(config, env)

    def train(key: jax.Array, env_params: Any) -> PPOResult:
        state, curve = learner.update_chunk(learner.init(key, env_params), env_params, config.num_updates)
        return PPOResult(PPOPolicy(state.train.model), curve)

    return train


@cache
def _compiled(config: PPOConfig, env: Environment):
    """Return `init` and `update_chunk` over seeds, kept so that another call with these settings compiles nothing."""
    learner = make_learner(config, env)
    chunk = jax.vmap(lambda state, env_params: learner.update_chunk(state, env_params, config.chunk))
    return jax.jit(jax.vmap(learner.init)), jax.jit(chunk, donate_argnums=0)


def train_seeds(
    config: PPOConfig,
    env: Environment,
    keys: jax.Array,
    env_params: Any,
    progress: Callable[[int, np.ndarray], None] | None = None,
) -> PPOResult:
    """Train all seeds side by side, in chunks, so that progress shows and Ctrl-C works.

    Args:
        config: the settings.
        env: the environment, the same for all seeds.
        keys: one key per seed.
        env_params: parameters of the environment with a leading axis over seeds on every leaf.
        progress: called after every chunk with the steps done per seed and the seeds' mean returns in that chunk, nan
            where no episode ended.

    Returns:
        The result of `vmap(make_train(config, env))(keys, env_params)`.

    Raises:
        ValueError: a loss is no longer finite.
    """
    init, update_chunk = _compiled(config, env)
    state = init(keys, env_params)
    chunks = []
    for first in range(0, config.num_updates, config.chunk):
        state, metrics = update_chunk(state, env_params)
        metrics = jax.device_get(metrics)
        if not np.all(np.isfinite(metrics.value_loss)):
            raise ValueError(f"learning_rate: the loss is not finite after update {first + config.chunk}")
        chunks.append(metrics)
        if progress is not None:
            in_chunk = jax.tree.map(lambda leaf: leaf.sum(axis=1), metrics)
            progress((first + config.chunk) * config.batch_size, np.asarray(in_chunk.mean_return()))
    curve = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *chunks)
    return PPOResult(PPOPolicy(state.train.model), curve)
