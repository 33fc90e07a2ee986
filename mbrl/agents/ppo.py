"""Proximal policy optimisation: the agent that learns what to do without learning what the world does.

    roll out T steps of N environments  →  advantages  →  E epochs of M minibatches  →  again

        L = −E[min(ρₜ Aₜ, clip(ρₜ, 1 − ε, 1 + ε) Aₜ)] + c_v E[½ ((V(sₜ) − Gₜ) / scale)²] − c_e E[H(π(·|sₜ))]
        ρₜ = π(aₜ|sₜ) / π_old(aₜ|sₜ)

Reference: Schulman, Wolski, Dhariwal, Radford and Klimov, 2017, Proximal Policy Optimization Algorithms, eqs. 7 and 9.

    config = PPOConfig(total_steps=500_000)
    train = make_train(config, env)
    result = train(key, env_params, rates)       # pure: jit it, vmap it over all three
    make_learner(config, env)                    # the same in chunks, for `mbrl.training.train_lanes`

Arrays are time-major `[T, N, ...]`; a lane more is a leading axis that `vmap` adds.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int

from mbrl.agents.advised_network import AdvisedNetwork
from mbrl.agents.floor_network import FloorNetwork
from mbrl.configs import PPOConfig
from mbrl.gathering import in_minibatches
from mbrl.model_free import AdvisedConfig
from mbrl.networks import ActorCritic, Categorical, TrainState
from mbrl.returns import generalised_advantages
from mbrl.types import Learner, Rates, Transition

Network = ActorCritic | FloorNetwork | AdvisedNetwork
"""Any network of a policy and a value without memory."""


def is_flat(obs: Array | jax.ShapeDtypeStruct) -> bool:
    """Tell whether these are flat floats."""
    return len(obs.shape) == 1 and jnp.issubdtype(obs.dtype, jnp.floating)


def is_floor(obs: Array | jax.ShapeDtypeStruct) -> bool:
    """Tell whether this is a floor of the factory."""
    return len(obs.shape) == 3 and obs.shape[-1] == 4 and obs.dtype == jnp.uint8


def make_network(obs: Array, num_actions: int, config: PPOConfig, *, key: jax.Array) -> Network:
    """Make the network that fits settings and an observation: flat floats, or the floor of the factory, advised or not.

    Raises:
        ValueError: it is neither.
    """
    if is_flat(obs):
        return ActorCritic(obs.shape[0], num_actions, config.hidden_sizes, config.return_scale, key=key)
    if isinstance(config, AdvisedConfig):
        return AdvisedNetwork(config.hidden_sizes, config.return_scale, config.sees_jams, key=key)
    if is_floor(obs):
        return FloorNetwork(config.hidden_sizes, config.return_scale, key=key)
    raise ValueError(f"obs: no network for {obs.dtype}{list(obs.shape)}, expected float32[n] or uint8[H, W, 4]")


@struct.dataclass
class PPOPolicy:
    """What PPO has learnt, under the project's protocol; it needs no memory. `greedy` takes the likeliest action."""

    model: Network
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
    transition: Transition | tuple[()] = ()


@struct.dataclass
class PPOState:
    """A training run at rest between two updates; `key` and `rates` are constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    env_state: Any
    obs: Array
    episode_return: Float[Array, "env"]
    key: jax.Array
    rates: Rates
    update: Int[Array, ""]


def hold_then_fall(start: Any, *, hold_share: float, num_steps: int) -> Callable[[Array], Array]:
    """Return the schedule that stays at `start` for a share of the steps and falls linearly, to 0 at the last."""
    held = int(hold_share * num_steps)
    return optax.linear_schedule(start, 0.0, num_steps - held, held)


def schedules(
    config: PPOConfig,
) -> tuple[Callable[[Rates], optax.GradientTransformation], Callable[[Array], Array]]:
    """Return what makes the optimiser of given rates, and c_e by the number of gradient steps taken."""
    gradient_steps = config.num_updates * config.num_epochs * config.num_minibatches
    falling = partial(hold_then_fall, hold_share=config.hold_share, num_steps=gradient_steps)

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        adam = optax.adam(falling(rates.learning_rate), eps=1e-5)
        return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), adam)

    return optimizer, falling(config.entropy_coefficient)


@cache
def make_learner(
    config: PPOConfig, env: Environment, keep_transitions: bool = False, rewarded: Callable[..., Array] | None = None
) -> Learner:
    """Make the verbs of training, kept so that another call with these settings compiles nothing.

    `data` are the parameters of the environment; what is `seen` in a chunk are its transitions `[K · T · N, ...]`, if
    they are to be kept. The agent is rewarded by the environment, or as `rewarded(state, reward, info)` says of ticks
    that began in `state`.
    """

    optimizer, entropy_coefficient = schedules(config)

    def init(key: jax.Array, env_params: Any, rates: Rates) -> PPOState:
        model_key, reset_key, run_key = jax.random.split(key, 3)
        reset_keys = jax.random.split(reset_key, config.num_envs)
        obs, env_state = jax.vmap(env.reset, in_axes=(0, None))(reset_keys, env_params)
        model = make_network(obs[0], env.num_actions, config, key=model_key)
        return PPOState(
            train=TrainState.create(model, optimizer(rates)),
            env_state=env_state,
            obs=obs,
            episode_return=jnp.zeros(config.num_envs),
            key=run_key,
            rates=rates,
            update=jnp.int32(0),
        )

    def update_chunk(state: PPOState, env_params: Any, num_updates: int):
        update_keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, state.update + jnp.arange(num_updates))
        state, (metrics, seen) = jax.lax.scan(lambda state, key: update(state, env_params, key), state, update_keys)
        return state, metrics, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), seen)

    def update(state: PPOState, env_params: Any, key: jax.Array):
        rollout_key, epochs_key = jax.random.split(key)
        state, decisions, (return_sum, episodes) = rollout(state, env_params, rollout_key)
        advantages = jax.vmap(generalised_advantages, in_axes=(1, 1, 1, 1, 1, None, None), out_axes=1)(
            decisions.reward,
            decisions.value,
            decisions.next_value,
            decisions.terminated,
            decisions.truncated,
            state.rates.gamma,
            config.gae_lambda,
        )
        seen = decisions.transition if keep_transitions else ()
        decisions = decisions._replace(transition=())
        batch = (decisions, advantages, advantages + decisions.value)
        batch = jax.tree.map(lambda leaf: leaf.reshape(config.batch_size, *leaf.shape[2:]), batch)
        train, losses = learn(state.train, state.rates, batch, epochs_key)
        metrics = PPOMetrics(return_sum, episodes, *(jnp.mean(loss) for loss in losses))
        return replace(state, train=train, update=state.update + 1), (metrics, seen)

    def rollout(state: PPOState, env_params: Any, key: jax.Array):
        model = state.train.model

        def step(carry, keys):
            env_state, obs, episode_return = carry
            act_key, env_key = keys
            distribution, value = jax.vmap(model)(obs)
            action = distribution.sample(act_key)
            step_keys = jax.random.split(env_key, config.num_envs)
            next_obs, new_state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
                step_keys, env_state, action, env_params
            )
            gain = reward if rewarded is None else rewarded(env_state, reward, info)
            # The environment has already reset itself where an episode ended: next_obs belongs to the next one there.
            _, next_value = jax.vmap(model)(info["final_observation"])
            decision = Decision(
                obs, action, distribution.log_prob(action), value, next_value, gain, terminated, truncated,
                Transition(obs, action, reward, info["final_observation"]) if keep_transitions else (),
            )  # fmt: skip
            ended = terminated | truncated
            episode_return = episode_return + gain
            finished = (jnp.sum(ended * episode_return), jnp.sum(ended))
            return (new_state, next_obs, episode_return * ~ended), (decision, finished)

        step_keys = jax.random.split(key, (config.num_steps, 2))
        carry = (state.env_state, state.obs, state.episode_return)
        (env_state, obs, episode_return), (decisions, finished) = jax.lax.scan(step, carry, step_keys)
        state = replace(state, env_state=env_state, obs=obs, episode_return=episode_return)
        return state, decisions, jax.tree.map(jnp.sum, finished)

    def learn(train: TrainState, rates: Rates, batch: Any, key: jax.Array):
        optimise = optimizer(rates)

        def step(train, part):
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, *part, entropy_coefficient(train.step))
            return train.apply_gradients(gradients, optimise), losses

        return in_minibatches(step, train, batch, config, key)

    def loss(model: Network, decisions: Decision, advantages: Array, returns: Array, bonus: Array):
        distribution, values = jax.vmap(model)(decisions.obs)
        ratio = jnp.exp(distribution.log_prob(decisions.action) - decisions.log_prob)
        return ppo_loss(distribution, values, ratio, advantages, returns, bonus, config)

    return Learner(init, update_chunk, lambda state: PPOPolicy(state.train.model), rows, stack_parameters)


def ppo_loss(
    distribution: Categorical,
    values: Array,
    ratio: Array,
    advantages: Array,
    returns: Array,
    bonus: Array,
    config: PPOConfig,
) -> tuple[Array, tuple[Array, Array, Array, Array]]:
    """Return L, ρ being `ratio` and c_e `bonus`, and its parts: policy, value, entropy, how often ρ is cut."""
    advantages = (advantages - jnp.mean(advantages)) / (jnp.std(advantages) + 1e-8)
    clipped = jnp.clip(ratio, 1.0 - config.clip, 1.0 + config.clip)
    policy_loss = -jnp.mean(jnp.minimum(ratio * advantages, clipped * advantages))
    value_loss = 0.5 * jnp.mean(((values - returns) / config.return_scale) ** 2)
    entropy = jnp.mean(distribution.entropy())
    clip_fraction = jnp.mean(jnp.abs(ratio - 1.0) > config.clip)
    total = policy_loss + config.value_coefficient * value_loss - bonus * entropy
    return total, (policy_loss, value_loss, entropy, clip_fraction)


def rows(metrics: PPOMetrics) -> dict[str, np.ndarray]:
    """Return what a chunk's metrics `[lanes, updates]` say of each lane, first the mean return of its episodes."""
    in_chunk = PPOMetrics(*(leaf.sum(1) if leaf is metrics.episodes else leaf.mean(1) for leaf in metrics))
    returns = np.asarray(in_chunk._replace(return_sum=metrics.return_sum.sum(1)).mean_return())
    return {"return": returns, "episodes": in_chunk.episodes} | {
        name: getattr(in_chunk, name) for name in ("policy_loss", "value_loss", "entropy", "clip_fraction")
    }


def stack_parameters(env_params: list[Any]) -> Any:
    """Join the parameters of several lanes' environments."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *env_params)


def make_train(config: PPOConfig, env: Environment) -> Callable[[jax.Array, Any, Rates], PPOResult]:
    """Make `train(key, env_params, rates) -> PPOResult`, pure and vmappable over all."""
    learner = make_learner(config, env)

    def train(key: jax.Array, env_params: Any, rates: Rates) -> PPOResult:
        state = learner.init(key, env_params, rates)
        state, curve, _ = learner.update_chunk(state, env_params, config.num_updates)
        return PPOResult(learner.model(state), curve)

    return train
