"""Q-learning, from what was just acted (`pqn`) or is remembered (`dqn`): agents that learn what actions are worth.

    pqn    act T steps in N environments  →  λ-returns of the greedy policy  →  E epochs of M minibatches  →  again
    dqn    act T steps in N environments  →  remember  →  G times: learn from stretches, by a slow copy  →  again

    Gₜ = rₜ + γ (1 − terminatedₜ) [(1 − λ) maxₐ Q(sₜ₊₁, a) + λ Gₜ₊₁],  for dqn λ = 1 and Gₜ₊ₙ = maxₐ Q(sₜ₊ₙ, a)
    L  = ½ E[((Q(sₜ, aₜ) − Gₜ + α [maxₐ Q(sₜ, a) − Q(sₜ, aₜ)]) / scale)²],  with no gradient through [ ]

Both act greedily but for a share ε of actions, which falls linearly at first and then stays. Actions are worth what the
state is worth and an advantage, Q = V + A − mean A. What an action lacks of the best is learnt 1 / (1 − α) times as
large: far from a clip actions differ by less than a network errs.

References: Gallici et al., 2024, Simplifying Deep Temporal Difference Learning (pqn: no memory, no slow copy; layers
are normed instead); Mnih et al., 2015, Human-level Control through Deep Reinforcement Learning (dqn); Wang et al.,
2016, Dueling Network Architectures; Hessel et al., 2018, Rainbow (returns of n steps, as they were acted); Bellemare et
al., 2016, Increasing the Action Gap (advantage learning, α). Departures: layers are normed by the root of their mean
square; dqn's slow copy follows at every gradient step; what was cut off within n steps counts for nothing in dqn, which
does not remember where it led; α stands beside returns of several steps, at the first of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from gymnax.environments.environment import Environment
from jaxtyping import Array, Float, Int, UInt8

from mbrl import gathering
from mbrl.agents.floor_network import FloorTorso, FloorView, of_actions
from mbrl.agents.poses import NUM_POSES, PoseLinear
from mbrl.agents.ppo import hold_then_fall, is_flat, is_floor, stack_parameters
from mbrl.gathering import Acting, Ended, Row, in_minibatches, make_replay
from mbrl.model_free import DQNConfig, PQNConfig, QConfig
from mbrl.networks import MLP, Linear, TrainState, normed
from mbrl.returns import lambda_returns
from mbrl.types import Learner, Rates


def _cut(x: Array) -> Array:
    return nnx.relu(normed(x))


class FlatValues(nnx.Module):
    """What actions are worth at a flat observation, in units of `return_scale`."""

    def __init__(
        self, num_in: int, num_actions: int, hidden_sizes: Sequence[int], return_scale: float, *, key: jax.Array
    ):
        sizes = (num_in, *hidden_sizes)
        self.body = MLP((*sizes, 1 + num_actions), activation=_cut, final_scale=0.1, key=key)
        self.return_scale = return_scale

    def __call__(self, obs: Float[Array, "num_in"]) -> Float[Array, "actions"]:
        """Return what each action is worth (unbatched)."""
        worth, *advantages = self.body(obs)
        return joined(worth, jnp.stack(advantages)) * self.return_scale


class FloorValues(nnx.Module):
    """What actions are worth at a floor, alike in all directions (see floor_network.py); layers are normed."""

    def __init__(self, hidden_sizes: Sequence[int], return_scale: float, *, key: jax.Array):
        keys = jax.random.split(key, 6)
        *sizes, last = hidden_sizes
        self.view = FloorView(key=keys[0])
        self.advantage_torso = FloorTorso(self.view, hidden_sizes, is_normed=True, key=keys[1])
        self.worth_torso = FloorTorso(self.view, (*sizes, 2 * last), is_normed=True, key=keys[2])
        self.ahead = PoseLinear(last // NUM_POSES, 1, scale=0.1, key=keys[3])
        self.idle = Linear(last // NUM_POSES, 1, scale=0.1, key=keys[4])
        self.worth = Linear(2 * last // NUM_POSES, 1, scale=0.1, key=keys[5])
        self.return_scale = return_scale

    def __call__(self, obs: UInt8[Array, "height width 4"]) -> Float[Array, "5"]:
        """Return what each action is worth (unbatched)."""
        seen = self.view(obs)
        features = self.advantage_torso(seen)
        advantages = of_actions(self.ahead, self.idle, features)
        worth = self.worth(jnp.mean(self.worth_torso(seen), axis=0))[0]
        return joined(worth, advantages) * self.return_scale


def n_step_returns(
    steps: Row, gamma: Float[Array, ""], later: Float[Array, "batch"]
) -> tuple[Float[Array, "batch"], Float[Array, "batch"]]:
    """Return what n steps `[n, batch]` and what follows were worth, and 1 where that is known: nothing was cut off."""
    discounts = gamma * (1.0 - steps.terminated)
    values = jnp.broadcast_to(later, discounts.shape)  # only the last counts
    returns = jax.vmap(lambda_returns, (1, 1, 1, None), 1)(steps.reward, discounts, values, 1.0)[0]
    over = jnp.cumsum(steps.terminated, axis=0) > 0
    return returns, 1.0 - jnp.any(steps.truncated & ~over, axis=0)


def of_action(values: Float[Array, "*batch actions"], action: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return what the action chosen is worth."""
    return jnp.sum(jnp.where(action[..., None] == jnp.arange(values.shape[-1]), values, 0.0), axis=-1)


def lacking(values: Float[Array, "*batch actions"], action: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Return by how much the action chosen is worth less than the best."""
    return values.max(-1) - of_action(values, action)


def joined(worth: Float[Array, ""], advantages: Float[Array, "actions"]) -> Float[Array, "actions"]:
    """Return Q = V + A − mean A."""
    return worth + advantages - jnp.mean(advantages)


Network = FlatValues | FloorValues


def make_network(obs: Array | jax.ShapeDtypeStruct, num_actions: int, config: QConfig, *, key: jax.Array) -> Network:
    """Make the network that fits an observation: flat floats, or the floor of the factory.

    Raises:
        ValueError: it is neither.
    """
    if is_flat(obs):
        return FlatValues(obs.shape[0], num_actions, config.hidden_sizes, config.return_scale, key=key)
    if is_floor(obs):
        return FloorValues(config.hidden_sizes, config.return_scale, key=key)
    raise ValueError(f"obs: no network for {obs.dtype}{list(obs.shape)}, expected float32[n] or uint8[H, W, 4]")


@struct.dataclass
class GreedyPolicy:
    """What was learnt, under the project's protocol; it needs no memory, and no longer explores."""

    model: Network

    def begin(self, obs: Array, key: jax.Array) -> tuple[()]:
        """Begin an episode."""
        return ()

    def act(self, memory: tuple[()], obs: Array, key: jax.Array) -> tuple[Int[Array, ""], tuple[()]]:
        """Choose the action that is worth most at `obs` (unbatched)."""
        return jnp.argmax(self.model(obs)), memory


class QMetrics(NamedTuple):
    """What one update, or a stack of them, reports."""

    ended: Ended
    loss: Float[Array, "*batch"]
    value: Float[Array, "*batch"]


@struct.dataclass
class QState:
    """A training run at rest between two updates; `key` and `rates` are constant, update i uses `fold_in(key, i)`."""

    train: TrainState
    slow: Network
    acting: Acting
    memories: Any
    key: jax.Array
    rates: Rates
    update: Int[Array, ""]


@cache
def make_learner(
    config: PQNConfig | DQNConfig,
    env: Environment,
    keep_transitions: bool = False,
    rewarded: Callable[..., Array] | None = None,
) -> Learner:
    """Make the verbs of training; arguments as of `mbrl.agents.ppo.make_learner`."""
    replay = None
    if isinstance(config, DQNConfig):
        replay = make_replay(config.num_envs, config.batch_size, config.n_step + 1, config.capacity)
    exploring = max(1, int(config.exploring_share * config.num_updates))
    explores = optax.linear_schedule(1.0, config.exploration, exploring)
    falling = partial(hold_then_fall, hold_share=config.hold_share, num_steps=config.num_gradients)

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        adam = optax.radam(falling(rates.learning_rate))
        return optax.chain(optax.clip_by_global_norm(config.max_gradient_norm), adam)

    def act(model: Network, acting: Acting, env_params: Any, exploration: Array, num_steps: int, key: jax.Array):
        def choose(memory, obs, first, key):
            try_key, any_key = jax.random.split(key)
            best = jnp.argmax(jax.vmap(model)(obs), axis=-1)
            anything = jax.random.randint(any_key, best.shape, 0, env.num_actions)
            return jnp.where(jax.random.uniform(try_key, best.shape) < exploration, anything, best), memory

        return gathering.act(choose, env, env_params, acting, num_steps, key, rewarded)

    def init(key: jax.Array, env_params: Any, rates: Rates) -> QState:
        model_key, reset_key, act_key, run_key = jax.random.split(key, 4)
        obs = jax.eval_shape(lambda: env.reset(reset_key, env_params)[0])
        model = make_network(obs, env.num_actions, config, key=model_key)
        acting, memories = gathering.begin(env, env_params, config.num_envs, (), reset_key), ()
        if replay is not None:
            acting, rows, *_ = act(model, acting, env_params, jnp.float32(1), config.num_steps, act_key)
            memories = replay.add(replay.init(rows), rows)
        train = TrainState.create(model, optimizer(rates))
        return QState(train, model, acting, memories, run_key, rates, jnp.int32(0))

    def update(state: QState, env_params: Any, key: jax.Array):
        act_key, learn_key = jax.random.split(key)
        model, exploration = state.train.model, explores(state.update)
        acting, rows, ended, seen = act(model, state.acting, env_params, exploration, config.num_steps, act_key)
        state = replace(state, acting=acting, update=state.update + 1)
        if isinstance(config, DQNConfig):
            state, losses = remember(state, rows, config, learn_key)
        else:
            state, losses = learn(state, rows, seen.next_obs, config, learn_key)
        return state, QMetrics(ended, *(jnp.mean(part) for part in losses)), seen

    def learn(state: QState, rows: Row, reached: Array, config: PQNConfig, key: jax.Array):
        """Learn from what was just acted."""
        gamma, optimise = state.rates.gamma, optimizer(state.rates)
        value = jax.vmap(jax.vmap(state.train.model))(reached).max(-1)
        discounts = gamma * (1.0 - rows.terminated)
        returns = jax.vmap(lambda_returns, (1, 1, 1, None, 1), 1)(
            rows.reward, discounts, value, config.lambda_, rows.truncated
        )
        returns -= config.widening * lacking(jax.vmap(jax.vmap(state.train.model))(rows.obs), rows.action)
        batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (rows.obs, rows.action, returns))

        def step(train: TrainState, part: Any):
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, *part, jnp.ones(len(part[1])))
            return train.apply_gradients(gradients, optimise), losses

        train, losses = in_minibatches(step, state.train, batch, config, key)
        return replace(state, train=train), losses

    def remember(state: QState, rows: Row, config: DQNConfig, key: jax.Array):
        """Remember, and learn from what is remembered."""
        assert replay is not None
        memories, optimise = replay.add(state.memories, rows), optimizer(state.rates)

        def step(at, key):
            train, slow = at
            rows = replay.sample(memories, key)
            later = jax.vmap(slow)(rows.obs[-1]).max(-1)
            steps = jax.tree.map(lambda leaf: leaf[:-1], rows)
            returns, known = n_step_returns(steps, state.rates.gamma, later)
            returns -= config.widening * lacking(jax.vmap(slow)(steps.obs[0]), steps.action[0])
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, steps.obs[0], steps.action[0], returns, known)
            train = train.apply_gradients(gradients, optimise)
            return (train, optax.incremental_update(train.model, slow, config.slow_rate)), losses

        keys = jax.random.split(key, config.num_gradient_steps)
        (train, slow), losses = jax.lax.scan(step, (state.train, state.slow), keys)
        return replace(state, train=train, slow=slow, memories=memories), losses

    def loss(model: Network, obs: Array, action: Array, returns: Array, known: Array):
        value = of_action(jax.vmap(model)(obs), action)
        error = 0.5 * jnp.mean(known * ((value - returns) / config.return_scale) ** 2)
        return error, (error, jnp.mean(value))

    def rows_of(metrics: QMetrics) -> dict[str, np.ndarray]:
        return gathering.columns_of(metrics.ended) | {"loss": metrics.loss.mean(1), "value": metrics.value.mean(1)}

    update_chunk = gathering.in_chunks(update, keep_transitions)
    return Learner(init, update_chunk, lambda state: GreedyPolicy(state.train.model), rows_of, stack_parameters)
