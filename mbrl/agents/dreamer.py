"""`dreamer`: an actor and a critic that learn in the imagination of a recurrent model; nothing is planned at decisions.

    act T steps in N environments  →  remember  →  G times: learn from stretches, and what might come of them  →  again

    returns  Gₜ = rₜ + γ cₜ [(1 − λ) V(sₜ₊₁) + λ Gₜ₊₁]
    actor    −E[wₜ (log π(aₜ|sₜ) sg[(Gₜ − V(sₜ)) / max(1, S)] + η H(π(·|sₜ)))],  wₜ = γᵗ c₀ ⋯ cₜ₋₁
    critic   −E[wₜ (log p(sg Gₜ | sₜ) + log p(sg V_slow(sₜ) | sₜ))],  V the mean of p
    S        exponential mean of the range of returns from the 5th to the 95th percentile

Reference: Hafner, Pasukonis, Ba and Lillicrap, 2023, Mastering Diverse Domains through World Models (actor and critic).
Departures: see models/recurrent.py; Adam with a bound on the gradient's norm; the critic learns in imagination only.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int

from mbrl import gathering
from mbrl.agents.ppo import stack_parameters
from mbrl.controllers import DreamerConfig
from mbrl.encoders import as_it_is
from mbrl.gathering import Acting, Ended, Row, make_replay
from mbrl.models.recurrent import Moments, RecurrentModel, mixed, model_loss, normed_silu
from mbrl.networks import MLP, Categorical, TrainState
from mbrl.returns import lambda_returns
from mbrl.scales import NUM_BINS, TwoHot
from mbrl.types import Learner, Rates


class Dreamer(nnx.Module):
    """All that is learnt: a model, an actor and a critic."""

    def __init__(self, num_features: int, num_actions: int, config: DreamerConfig, encode: Callable, *, key: jax.Array):
        model_key, actor_key, critic_key = jax.random.split(key, 3)
        self.model = RecurrentModel(num_features, num_actions, config.model, encode, key=model_key)
        sizes = self.model.state_size, config.model.hidden_size, config.model.hidden_size
        self.actor = MLP((*sizes, num_actions), activation=normed_silu, final_scale=0.0, key=actor_key)
        self.critic = MLP((*sizes, NUM_BINS), activation=normed_silu, final_scale=0.0, key=critic_key)

    def policy(self, state: Float[Array, "*batch state"]) -> Categorical:
        """Return the distribution over actions."""
        return Categorical(mixed(self.actor(state)))

    def choose(
        self, memory: Float[Array, "*batch memory"], obs: Array, first: Bool[Array, "*batch"], key: jax.Array
    ) -> tuple[Int[Array, "*batch"], Float[Array, "*batch memory"]]:
        """Choose an action by what is remembered, unless an episode begins, and seen; return it and the next memory."""
        draw_key, act_key = jax.random.split(key)
        memory = jnp.where(first[..., None], 0, memory)
        latent = self.model.draw(self.model.seen(memory, obs), draw_key)
        action = self.policy(jnp.concatenate([memory, latent], -1)).sample(act_key)
        return action, self.model.step(memory, latent, action)


@struct.dataclass
class DreamerPolicy:
    """What was learnt, under the project's protocol; its memory is the model's."""

    agent: Dreamer

    def begin(self, obs: Array, key: jax.Array) -> Float[Array, "memory"]:
        """Begin an episode."""
        return self.agent.model.initial()

    def act(self, memory: Float[Array, "memory"], obs: Array, key: jax.Array) -> tuple[Int[Array, ""], Array]:
        """Choose an action at `obs` (unbatched)."""
        return self.agent.choose(memory, obs, jnp.bool_(False), key)


class DreamerMetrics(NamedTuple):
    """What one update, or a stack of them, reports."""

    ended: Ended
    model_loss: Float[Array, "*batch"]
    actor_loss: Float[Array, "*batch"]
    critic_loss: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]


@struct.dataclass
class DreamerState:
    """A training run at rest between two updates; `key` and `rates` are constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    slow: MLP
    spread: Float[Array, ""]
    acting: Acting
    memories: Any
    key: jax.Array
    rates: Rates
    update: Int[Array, ""]


@cache
def make_learner(
    config: DreamerConfig,
    env: Environment,
    encode: Callable[[Array], Array] = as_it_is,
    keep_transitions: bool = False,
    rewarded: Callable[..., Array] | None = None,
) -> Learner:
    """Make the verbs of training; `data` are the parameters of the environment.

    Args:
        config: settings.
        env: the environment.
        encode: makes features of observations, any leading axes.
        keep_transitions: whether a chunk hands on what was seen, `[K · T · N, ...]`.
        rewarded: what is rewarded instead of what the environment rewards (see `mbrl.gathering.act`).
    """
    replay = make_replay(config.num_envs, config.batch_size, config.length, config.capacity)

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        adam = optax.adam(rates.learning_rate, eps=1e-8)
        return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), adam)

    def init(key: jax.Array, env_params: Any, rates: Rates) -> DreamerState:
        agent_key, reset_key, act_key, run_key = jax.random.split(key, 4)
        features = jax.eval_shape(lambda: encode(env.reset(reset_key, env_params)[0]))
        agent = Dreamer(features.shape[0], env.num_actions, config, encode, key=agent_key)
        acting = gathering.begin(env, env_params, config.num_envs, agent.model.initial(config.num_envs), reset_key)
        acting, rows, *_ = gathering.act(agent.choose, env, env_params, acting, config.length, act_key, rewarded)
        memories = replay.add(replay.init(rows), rows)
        train = TrainState.create(agent, optimizer(rates))
        return DreamerState(train, agent.critic, jnp.float32(0), acting, memories, run_key, rates, jnp.int32(0))

    def update(state: DreamerState, env_params: Any, key: jax.Array):
        act_key, learn_key = jax.random.split(key)
        agent: Dreamer = state.train.model
        acting, rows, ended, seen = gathering.act(
            agent.choose, env, env_params, state.acting, config.num_steps, act_key, rewarded
        )
        state = replace(state, acting=acting, memories=replay.add(state.memories, rows), update=state.update + 1)
        optimise = optimizer(state.rates)

        def learn(at, key):
            train, slow, spread = at
            sample_key, loss_key = jax.random.split(key)
            rows = replay.sample(state.memories, sample_key)
            gradients, (wide, losses) = jax.grad(loss, has_aux=True)(
                train.model, slow, spread, rows, state.rates.gamma, loss_key
            )
            train = train.apply_gradients(gradients, optimise)
            slow = optax.incremental_update(train.model.critic, slow, config.slow_rate)
            return (train, slow, 0.99 * spread + 0.01 * wide), losses

        keys = jax.random.split(learn_key, config.num_gradient_steps)
        (train, slow, spread), losses = jax.lax.scan(learn, (state.train, state.slow, state.spread), keys)
        metrics = DreamerMetrics(ended, *(jnp.mean(part) for part in losses))
        return replace(state, train=train, slow=slow, spread=spread), metrics, seen

    def loss(agent: Dreamer, slow: MLP, spread: Array, rows: Row, gamma: Array, key: jax.Array):
        model_key, imagine_key = jax.random.split(key)
        of_model, moments = model_loss(agent.model, rows, config.model, model_key)
        stop = jax.lax.stop_gradient
        frozen, start = stop(agent), jax.tree.map(lambda leaf: leaf.reshape(-1, leaf.shape[-1]), stop(moments))
        imagined, actions = frozen.model.imagine(
            start, lambda state, key: frozen.policy(state).sample(key), config.horizon, imagine_key
        )
        of_actor, of_critic, entropy, wide = behaviour_loss(agent, slow, spread, imagined, actions, gamma)
        return of_model + of_actor + of_critic, (wide, (of_model, of_actor, of_critic, entropy))

    def behaviour_loss(agent: Dreamer, slow: MLP, spread: Array, imagined: Moments, actions: Array, gamma: Array):
        stop = jax.lax.stop_gradient
        reward, goes_on = stop(agent).model.brings(imagined.after[:-1])
        discounts, states = gamma * jax.nn.sigmoid(goes_on), imagined.state
        critic, policy = TwoHot(agent.critic(states[:-1])), agent.policy(states[:-1])
        values = TwoHot(stop(agent).critic(states)).mean()
        returns = jax.vmap(lambda_returns, (1, 1, 1, None), 1)(reward.mean(), discounts, values[1:], config.lambda_)
        weights = jnp.cumprod(jnp.concatenate([jnp.ones_like(discounts[:1]), discounts[:-1]]), 0)
        advantages = (returns - values[:-1]) / jnp.maximum(1, spread)
        entropy = policy.entropy()
        of_actor = -weights * (policy.log_prob(actions) * advantages + config.entropy_coefficient * entropy)
        slowly = TwoHot(slow(states[:-1])).mean()
        of_critic = -weights * (critic.log_prob(returns) + critic.log_prob(slowly))
        low, high = jnp.percentile(returns, jnp.array([5.0, 95.0]))
        return of_actor.mean(), of_critic.mean(), entropy.mean(), high - low

    def rows_of(metrics: DreamerMetrics) -> dict[str, np.ndarray]:
        names = "model_loss", "actor_loss", "critic_loss", "entropy"
        return gathering.columns_of(metrics.ended) | {name: getattr(metrics, name).mean(1) for name in names}

    update_chunk = gathering.in_chunks(update, keep_transitions)
    return Learner(init, update_chunk, lambda state: DreamerPolicy(state.train.model), rows_of, stack_parameters)
