"""`latent+mcts`: tree search in a value-equivalent model, which learns from what its own searches find.

    act T steps in N environments by searching  →  remember  →  G times: search again in stretches of what is
    remembered, by a slow copy of the model (reanalysis); learn to know beforehand what that found  →  again

    Gₜ = rₜ + γ cₜ [(1 − λ) νₜ₊₁ + λ Gₜ₊₁],  ν the value of the root of the search at t + 1; where an episode was cut,
    that of the state that the model expects

References: Schrittwieser, Antonoglou, Hubert et al., 2020, Mastering Atari, Go, Chess and Shogi by Planning with a
Learned Model; Danihelka, Guez, Schrittwieser and Silver, 2022, Policy Improvement by Planning with Gumbel (the search,
by mctx); Schrittwieser, Hubert, Mandhane et al., 2021, Online and Offline Reinforcement Learning by Planning with a
Learned Model (reanalysis). Departure: all targets are reanalysed, and λ-returns take the place of n-step returns.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mctx
import numpy as np
import optax
from flax import struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int

from mbrl import gathering
from mbrl.agents.ppo import stack_parameters
from mbrl.controllers import LatentConfig
from mbrl.encoders import as_it_is
from mbrl.gathering import Acting, Ended, Row, make_replay
from mbrl.models.latent import LatentModel, model_loss
from mbrl.networks import TrainState
from mbrl.returns import lambda_returns
from mbrl.types import Learner, Rates


class Found(NamedTuple):
    """What a search found: the action it leads to, a better policy than the prior, and the value of its root."""

    action: Int[Array, "n"]
    policy: Float[Array, "n actions"]
    value: Float[Array, "n"]


def search(
    model: LatentModel,
    obs: Array,
    gamma: Float[Array, ""],
    num_simulations: int,
    key: jax.Array,
    gumbel_scale: float = 1.0,
) -> Found:
    """Search from everything that is seen, `[n, ...]`; with `gumbel_scale` 0 the action is the best that is found."""

    def judged(state: Array):
        logits, value = model.judge(state)
        return {"prior_logits": logits, "value": value.mean()}

    def step(_, key: jax.Array, action: Array, state: Array):
        after = model.step(state, action)
        reward, goes_on = model.brings(after)
        discount = gamma * jax.nn.sigmoid(goes_on)
        return mctx.RecurrentFnOutput(reward=reward.mean(), discount=discount, **judged(after)), after

    state = model.read(obs)
    found = mctx.gumbel_muzero_policy(
        (), key, mctx.RootFnOutput(embedding=state, **judged(state)), step, num_simulations,
        max_num_considered_actions=model.num_actions, gumbel_scale=gumbel_scale,
    )  # fmt: skip
    return Found(found.action, found.action_weights, found.search_tree.summary().value)


@struct.dataclass
class LatentPolicy:
    """A model that searches at every step, under the project's protocol; it needs no memory."""

    model: LatentModel
    gamma: Float[Array, ""]
    num_simulations: int = struct.field(pytree_node=False)

    def begin(self, obs: Array, key: jax.Array) -> tuple[()]:
        """Begin an episode."""
        return ()

    def act(self, memory: tuple[()], obs: Array, key: jax.Array) -> tuple[Int[Array, ""], tuple[()]]:
        """Choose an action at `obs` (unbatched)."""
        return search(self.model, obs[None], self.gamma, self.num_simulations, key, 0.0).action[0], memory


class LatentMetrics(NamedTuple):
    """What one update, or a stack of them, reports."""

    ended: Ended
    loss: Float[Array, "*batch"]
    value: Float[Array, "*batch"]


@struct.dataclass
class LatentState:
    """A training run at rest between two updates; `key` and `rates` are constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    slow: LatentModel
    acting: Acting
    memories: Any
    key: jax.Array
    rates: Rates
    update: Int[Array, ""]


@cache
def make_learner(
    config: LatentConfig,
    num_simulations: int,
    env: Environment,
    encode: Callable[[Array], Array] = as_it_is,
    keep_transitions: bool = False,
    rewarded: Callable[..., Array] | None = None,
) -> Learner:
    """Make the verbs of training; `data` are the parameters of the environment.

    Args:
        config: settings.
        num_simulations: of every search.
        env: the environment.
        encode: makes features of observations, any leading axes.
        keep_transitions: whether a chunk hands on what was seen, `[K · T · N, ...]`.
        rewarded: what is rewarded instead of what the environment rewards (see `mbrl.gathering.act`).
    """
    replay = make_replay(config.num_envs, config.batch_size, config.length, config.capacity)

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        adam = optax.adamw(rates.learning_rate, weight_decay=config.weight_decay)
        return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), adam)

    def act(model: LatentModel, state_of: Acting, env_params: Any, gamma: Array, num_steps: int, key: jax.Array):
        def choose(memory, obs, first, key):
            return search(model, obs, gamma, num_simulations, key).action, memory

        return gathering.act(choose, env, env_params, state_of, num_steps, key, rewarded)

    def init(key: jax.Array, env_params: Any, rates: Rates) -> LatentState:
        model_key, reset_key, act_key, run_key = jax.random.split(key, 4)
        features = jax.eval_shape(lambda: encode(env.reset(reset_key, env_params)[0]))
        model = LatentModel(features.shape[0], env.num_actions, config, encode, key=model_key)
        acting = gathering.begin(env, env_params, config.num_envs, (), reset_key)
        acting, rows, *_ = act(model, acting, env_params, rates.gamma, config.length, act_key)
        memories = replay.add(replay.init(rows), rows)
        train = TrainState.create(model, optimizer(rates))
        return LatentState(train, model, acting, memories, run_key, rates, jnp.int32(0))

    def update(state: LatentState, env_params: Any, key: jax.Array):
        act_key, learn_key = jax.random.split(key)
        gamma, optimise = state.rates.gamma, optimizer(state.rates)
        acting, rows, ended, seen = act(state.train.model, state.acting, env_params, gamma, config.num_steps, act_key)
        state = replace(state, acting=acting, memories=replay.add(state.memories, rows), update=state.update + 1)

        def learn(at, key):
            train, slow = at
            sample_key, search_key = jax.random.split(key)
            rows = replay.sample(state.memories, sample_key)
            policy, value = targets(slow, rows, gamma, search_key)
            part, gradients = jax.value_and_grad(loss)(train.model, rows, policy, value)
            train = train.apply_gradients(gradients, optimise)
            return (train, optax.incremental_update(train.model, slow, config.slow_rate)), (part, value.mean())

        keys = jax.random.split(learn_key, config.num_gradient_steps)
        (train, slow), parts = jax.lax.scan(learn, (state.train, state.slow), keys)
        metrics = LatentMetrics(ended, *(jnp.mean(part) for part in parts))
        return replace(state, train=train, slow=slow), metrics, seen

    def targets(model: LatentModel, rows: Row, gamma: Array, key: jax.Array) -> tuple[Array, Array]:
        """Return π and G of all rows but the last."""
        found = search(model, rows.obs.reshape(-1, *rows.obs.shape[2:]), gamma, num_simulations, key)
        policy, value = found.policy.reshape(*rows.first.shape, -1), found.value.reshape(rows.first.shape)
        rows = jax.tree.map(lambda leaf: leaf[:-1], rows)
        expected = model.judge(model.step(model.read(rows.obs), rows.action))[1].mean()
        next_value = jnp.where(rows.truncated, expected, value[1:])
        returns = jax.vmap(lambda_returns, (1, 1, 1, None, 1), 1)(
            rows.reward, gamma * ~rows.terminated, next_value, config.lambda_, rows.truncated
        )
        return policy[:-1], returns

    def loss(model: LatentModel, rows: Row, policy: Array, value: Array) -> Array:
        beginnings = jnp.arange(config.length - config.unroll)
        steps = beginnings[None, :] + jnp.arange(config.unroll)[:, None]
        over = rows.terminated | rows.truncated
        parts = [leaf[steps] for leaf in (rows.action, rows.reward, rows.terminated, over, policy, value)]
        parts = [leaf.reshape(config.unroll, -1, *leaf.shape[3:]) for leaf in parts]
        return model_loss(model, rows.obs[beginnings].reshape(-1, *rows.obs.shape[2:]), *parts)

    def rows_of(metrics: LatentMetrics) -> dict[str, np.ndarray]:
        return gathering.columns_of(metrics.ended) | {"loss": metrics.loss.mean(1), "value": metrics.value.mean(1)}

    def model_of(state: LatentState) -> LatentPolicy:
        return LatentPolicy(state.train.model, state.rates.gamma, num_simulations)

    return Learner(init, gathering.in_chunks(update, keep_transitions), model_of, rows_of, stack_parameters)
