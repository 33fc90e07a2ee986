"""PPO of agents that remember: a stretch of experience is learnt from as a whole, and from what was remembered before.

    act T steps in N environments  →  follow the stretch again  →  advantages  →  E epochs of M minibatches of stretches

The loss is that of ppo.py. Gradients flow back through a stretch, and stop where it begins; there stands what was
remembered as it was acted, by parameters that are a little older in the later minibatches.

References: Schulman et al., 2017, Proximal Policy Optimization Algorithms; Kapturowski et al., 2019, Recurrent
Experience Replay in Distributed Reinforcement Learning (stretches that begin with a stored memory).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Int

from mbrl import gathering
from mbrl.agents.memories import Network, make_network
from mbrl.agents.ppo import PPOMetrics, ppo_loss, schedules, stack_parameters
from mbrl.agents.ppo import rows as rows_of
from mbrl.gathering import Acting, Row, in_minibatches
from mbrl.model_free import PlansConfig, RecurrentPPOConfig
from mbrl.networks import TrainState
from mbrl.returns import generalised_advantages
from mbrl.types import Learner, Rates


@struct.dataclass
class RecurrentPolicy:
    """What was learnt, under the project's protocol."""

    model: Network
    thinking_ticks: int = struct.field(pytree_node=False, default=0)

    def begin(self, obs: Array, key: jax.Array) -> Any:
        """Begin an episode, after thinking about what is seen first."""
        seen = self.model.see(obs)
        think = lambda _, memory: self.model.remember(memory, seen)  # noqa: E731
        return jax.lax.fori_loop(0, self.thinking_ticks, think, self.model.initial(obs))

    def act(self, memory: Any, obs: Array, key: jax.Array) -> tuple[Int[Array, ""], Any]:
        """Choose an action at `obs` (unbatched)."""
        seen = self.model.see(obs)
        memory = self.model.remember(memory, seen)
        return self.model.decide(memory, seen)[0].sample(key), memory


@struct.dataclass
class RecurrentState:
    """A training run at rest between two updates; `key` and `rates` are constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    acting: Acting
    key: jax.Array
    rates: Rates
    update: Int[Array, ""]


def follow(model: Network, memory: Any, obs: Array, first: Bool[Array, "time"]) -> tuple[Any, Any, Any]:
    """Return what is decided at every step of a stretch, values, and memories (unbatched, time first)."""
    seen = jax.vmap(model.see)(obs)
    nothing = model.initial(obs[0])

    def tick(memory: Any, at: Any):
        seen, first = at
        memory = jax.tree.map(lambda old, none: jnp.where(first, none, old), memory, nothing)
        memory = model.remember(memory, seen)
        return memory, memory

    _, memories = jax.lax.scan(tick, memory, (seen, first))
    distribution, values = jax.vmap(model.decide)(memories, seen)
    return distribution, values, memories


@cache
def make_learner(
    config: RecurrentPPOConfig | PlansConfig,
    env: Environment,
    keep_transitions: bool = False,
    rewarded: Callable[..., Array] | None = None,
) -> Learner:
    """Make the verbs of training; arguments as of `mbrl.agents.ppo.make_learner`."""
    optimizer, entropy_coefficient = schedules(config)

    def init(key: jax.Array, env_params: Any, rates: Rates) -> RecurrentState:
        model_key, reset_key, run_key = jax.random.split(key, 3)
        obs = jax.eval_shape(lambda: env.reset(reset_key, env_params)[0])
        model = make_network(obs, env.num_actions, config, key=model_key)
        memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (config.num_envs, *leaf.shape)), model.initial(obs))
        acting = gathering.begin(env, env_params, config.num_envs, memory, reset_key)
        return RecurrentState(TrainState.create(model, optimizer(rates)), acting, run_key, rates, jnp.int32(0))

    def choose(model: Network, memory: Any, obs: Array, first: Bool[Array, "env"], key: jax.Array):
        distribution, _, memories = jax.vmap(follow, (None, 0, 0, 0))(model, memory, obs[:, None], first[:, None])
        action = distribution.sample(key)[:, 0]
        return action, jax.tree.map(lambda leaf: leaf[:, 0], memories)

    def update(state: RecurrentState, env_params: Any, key: jax.Array):
        act_key, epochs_key = jax.random.split(key)
        model, start = state.train.model, state.acting.memory
        acting, rows, ended, seen = gathering.act(
            partial(choose, model), env, env_params, state.acting, config.num_steps, act_key, rewarded
        )
        over_envs = jax.tree.map(lambda leaf: leaf.swapaxes(0, 1), rows)
        distribution, values, memories = jax.vmap(follow, (None, 0, 0, 0))(model, start, over_envs.obs, over_envs.first)
        log_probs = distribution.log_prob(over_envs.action)
        reached = jax.vmap(jax.vmap(partial(value_of, model)))(memories, seen.next_obs.swapaxes(0, 1))
        advantages = jax.vmap(generalised_advantages, (0, 0, 0, 0, 0, None, None))(
            over_envs.reward,
            values,
            reached,
            over_envs.terminated,
            over_envs.truncated,
            state.rates.gamma,
            config.gae_lambda,
        )
        batch = start, over_envs, log_probs, advantages, advantages + values
        train, losses = learn(state.train, state.rates, batch, epochs_key)
        metrics = PPOMetrics(ended.return_sum, ended.episodes, *(jnp.mean(loss) for loss in losses))
        return replace(state, train=train, acting=acting, update=state.update + 1), metrics, seen

    def value_of(model: Network, memory: Any, obs: Array) -> Array:
        seen = model.see(obs)
        return model.decide(model.remember(memory, seen), seen)[1]

    def learn(train: TrainState, rates: Rates, batch: Any, key: jax.Array):
        optimise = optimizer(rates)

        def step(train, part):
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, *part, entropy_coefficient(train.step))
            return train.apply_gradients(gradients, optimise), losses

        return in_minibatches(step, train, batch, config, key)

    def loss(model: Network, start: Any, over: Row, log_probs: Array, advantages: Array, returns: Array, bonus: Array):
        distribution, values, _ = jax.vmap(follow, (None, 0, 0, 0))(model, start, over.obs, over.first)
        ratio = jnp.exp(distribution.log_prob(over.action) - log_probs)
        return ppo_loss(distribution, values, ratio, advantages, returns, bonus, config)

    update_chunk = gathering.in_chunks(update, keep_transitions)
    return Learner(init, update_chunk, lambda state: RecurrentPolicy(state.train.model), rows_of, stack_parameters)
