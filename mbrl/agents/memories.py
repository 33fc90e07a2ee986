"""Networks with a memory: what is seen, what is made of it, and what is decided, each by itself.

    seen = network.see(obs)                          # of every observation by itself
    memory = network.remember(memory, seen)          # tick by tick, from network.initial(obs)
    distribution, value = network.decide(memory, seen)

    FlatMemory      perceptron ─► GRU, for flat observations
    FloorMemory     what `FloorNetwork` sees, alike in all directions ─► GRU in each of eight poses
    FloorPlans      embedded floor ─► layers of convolutional LSTMs, several times a tick

References: Cho et al., 2014, Learning Phrase Representations using RNN Encoder-Decoder (GRU); Shi et al., 2015,
Convolutional LSTM Network; Guez et al., 2019, An Investigation of Model-Free Planning (deep repeated ConvLSTM: pooled
memory injected, the top layer's memory given to the bottom one, what is seen given to all). Departure of the last: what
is decided is read off the robot's own cell and the maximum and mean over all cells, so that floors may be of any size.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.types import NUM_MARKINGS, NUM_OBJECTS, Object, Terrain
from mbrl.agents.floor_network import FloorTorso, FloorView, of_actions
from mbrl.agents.poses import NUM_POSES, PoseLinear
from mbrl.agents.ppo import is_flat, is_floor
from mbrl.model_free import PlansConfig, RecurrentPPOConfig
from mbrl.models.heads import CellTable
from mbrl.networks import MLP, Categorical, Convolution, FlatTorso, Linear


def gated(memory: Array, entered: Array, remembered: Array) -> Array:
    """Return a GRU's next memory: `entered` and `remembered` are what input and memory give to its three gates."""
    reset, update, fresh = jnp.split(entered, 3, axis=-1)
    of_reset, of_update, of_fresh = jnp.split(remembered, 3, axis=-1)
    update = jax.nn.sigmoid(update + of_update - 1)  # forgets little at first
    candidate = jnp.tanh(fresh + jax.nn.sigmoid(reset + of_reset) * of_fresh)
    return update * candidate + (1 - update) * memory


class FlatMemory(nnx.Module):
    """A policy and a value at a flat observation and a memory."""

    def __init__(
        self,
        num_in: int,
        num_actions: int,
        hidden_sizes: Sequence[int],
        memory_size: int,
        return_scale: float,
        *,
        key: jax.Array,
    ):
        torso_key, enter_key, keep_key, actor_key, critic_key = jax.random.split(key, 5)
        last = hidden_sizes[-1]
        self.torso = FlatTorso(num_in, hidden_sizes, key=torso_key)
        self.enter = Linear(last, 3 * memory_size, key=enter_key)
        self.keep = Linear(memory_size, 3 * memory_size, key=keep_key)
        self.actor = Linear(last + memory_size, num_actions, scale=0.01, key=actor_key)
        self.critic = Linear(last + memory_size, 1, scale=0.1, key=critic_key)
        self.memory_size, self.return_scale = memory_size, return_scale

    def initial(self, obs: Float[Array, "num_in"]) -> Float[Array, "memory"]:
        """Return the memory of nothing."""
        return jnp.zeros(self.memory_size)

    def see(self, obs: Float[Array, "num_in"]) -> Float[Array, "features"]:
        """Look (unbatched)."""
        return self.torso(obs)

    def remember(self, memory: Float[Array, "memory"], seen: Float[Array, "features"]) -> Float[Array, "memory"]:
        """Return the memory of what is seen, too."""
        return gated(memory, self.enter(seen), self.keep(memory))

    def decide(self, memory: Array, seen: Array) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value."""
        known = jnp.concatenate([seen, memory])
        return Categorical(self.actor(known)), self.critic(known)[0] * self.return_scale


class Looks(NamedTuple):
    """A floor as the policy and as the value see it: features of every pose."""

    policy: Float[Array, "8 features"]
    value: Float[Array, "8 more_features"]


class FloorMemory(nnx.Module):
    """A policy and a value at a floor and a memory; turn or mirror all floors of an episode, and both turn too."""

    def __init__(self, hidden_sizes: Sequence[int], memory_size: int, return_scale: float, *, key: jax.Array):
        keys = jax.random.split(key, 8)
        *sizes, last = hidden_sizes
        view, own, held = FloorView(key=keys[0]), last // NUM_POSES, memory_size // NUM_POSES
        self.view = view
        self.policy_torso = FloorTorso(view, hidden_sizes, key=keys[1])
        self.value_torso = FloorTorso(view, (*sizes, 2 * last), key=keys[2])
        self.enter = PoseLinear(own, 3 * held, scale=1.0, key=keys[3])
        self.keep = PoseLinear(held, 3 * held, scale=1.0, key=keys[4])
        self.ahead = PoseLinear(own + held, 1, scale=0.01, key=keys[5])
        self.idle = Linear(own + held, 1, scale=0.01, key=keys[6])
        self.critic = Linear(2 * own + held, 1, scale=0.1, key=keys[7])
        self.held, self.return_scale = held, return_scale

    def initial(self, obs: UInt8[Array, "height width 4"]) -> Float[Array, "8 memory"]:
        """Return the memory of nothing."""
        return jnp.zeros((NUM_POSES, self.held))

    def see(self, obs: UInt8[Array, "height width 4"]) -> Looks:
        """Look (unbatched)."""
        seen = self.view(obs)
        return Looks(self.policy_torso(seen), self.value_torso(seen))

    def remember(self, memory: Float[Array, "8 memory"], seen: Looks) -> Float[Array, "8 memory"]:
        """Return the memory of what is seen, too."""
        return gated(memory, self.enter(seen.policy), self.keep(memory))

    def decide(self, memory: Float[Array, "8 memory"], seen: Looks) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value."""
        known = jnp.concatenate([seen.policy, memory], axis=1)
        logits = of_actions(self.ahead, self.idle, known)
        value = self.critic(jnp.mean(jnp.concatenate([seen.value, memory], axis=1), axis=0))[0]
        return Categorical(logits), value * self.return_scale


class Sight(NamedTuple):
    """A floor as its cells are embedded, where the robot is, and what is no wall."""

    cells: Float[Array, "height width channels"]
    robot: Float[Array, "height width 1"]
    inside: Float[Array, "height width 1"]


class FloorPlans(nnx.Module):
    """A policy and a value at a floor and memories of its cells, in layers that think `num_ticks` times a tick.

    Walls are zero throughout, so that a floor looks the same however a bank pads it.
    """

    def __init__(self, config: PlansConfig, *, key: jax.Array):
        keys = iter(jax.random.split(key, 4 + 2 * config.num_layers))
        size = config.num_channels
        self.embed = CellTable(size, key=next(keys))
        self.light = nnx.Param(jnp.zeros(size))
        self.entry = Convolution(size, size, key=next(keys))
        self.layers = nnx.List([Convolution(3 * size, 4 * size, key=next(keys)) for _ in range(config.num_layers)])
        self.pools = nnx.List([Linear(2 * size, 4 * size, key=next(keys)) for _ in range(config.num_layers)])
        self.body = MLP((4 * size, *config.hidden_sizes), key=next(keys))
        self.out = Linear(config.hidden_sizes[-1], 6, scale=0.01, key=next(keys))
        self.num_ticks, self.return_scale = config.num_ticks, config.return_scale

    def initial(self, obs: UInt8[Array, "height width 4"]) -> Float[Array, "2 layers height width channels"]:
        """Return the memory of nothing: what every cell of every layer tells, and what it keeps."""
        return jnp.zeros((2, len(self.layers), *obs.shape[:2], len(self.light[...])))

    def see(self, obs: UInt8[Array, "height width 4"]) -> Sight:
        """Look (unbatched)."""
        now = obs.astype(jnp.int32)
        codes = (now[..., TERRAIN] * NUM_MARKINGS + now[..., MARKING]) * NUM_OBJECTS + now[..., OBJECT]
        robot = (now[..., OBJECT] >= Object.ROBOT) & (now[..., OBJECT] <= Object.DISABLED_ROBOT)
        robot, inside = (part[..., None].astype(jnp.float32) for part in (robot, now[..., TERRAIN] != Terrain.WALL))
        cells = inside * nnx.relu(self.embed(codes) + now[0, 0, LIGHT] * self.light[...])
        return Sight(inside * nnx.relu(self.entry(_ringed(cells))), robot, inside)

    def remember(self, memory: Array, seen: Sight) -> Float[Array, "2 layers height width channels"]:
        """Return the memory of what is seen, too."""
        tells, keeps = list(memory[0]), list(memory[1])
        for _ in range(self.num_ticks):
            below = tells[-1]
            for i, (layer, pool) in enumerate(zip(self.layers, self.pools, strict=True)):
                near = layer(_ringed(jnp.concatenate([seen.cells, below, tells[i]], axis=-1)))
                gates = near + pool(_pooled(tells[i], seen.inside))
                enters, stays, shows, fresh = jnp.split(gates, 4, axis=-1)
                keeps[i] = jax.nn.sigmoid(stays + 1) * keeps[i] + jax.nn.sigmoid(enters) * jnp.tanh(fresh)
                keeps[i] = seen.inside * keeps[i]
                tells[i] = below = jax.nn.sigmoid(shows) * jnp.tanh(keeps[i])
        return jnp.stack([jnp.stack(tells), jnp.stack(keeps)])

    def decide(self, memory: Array, seen: Sight) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value."""
        top = memory[0, -1]
        here = (seen.robot * jnp.concatenate([top, seen.cells], axis=-1)).sum((0, 1))
        known = jnp.concatenate([here, _pooled(top, seen.inside)])
        said = self.out(nnx.relu(self.body(known)))
        return Categorical(said[:-1]), said[-1] * self.return_scale


def _ringed(cells: Float[Array, "height width channels"]) -> Array:
    return jnp.pad(cells, ((1, 1), (1, 1), (0, 0)))


def _pooled(tells: Float[Array, "height width channels"], inside: Array) -> Float[Array, "2*channels"]:
    """Return the maximum and the mean over cells that are no walls."""
    most = jnp.where(inside > 0, tells, -1.0).max((0, 1))
    return jnp.concatenate([most, tells.sum((0, 1)) / inside.sum()])


Network = FlatMemory | FloorMemory | FloorPlans
"""Any of them."""


def make_network(
    obs: Array | jax.ShapeDtypeStruct, num_actions: int, config: RecurrentPPOConfig | PlansConfig, *, key: jax.Array
) -> Network:
    """Make the network that fits settings and an observation: flat floats, or the floor of the factory.

    Raises:
        ValueError: it is neither, or none that can be planned on.
    """
    if isinstance(config, PlansConfig) and is_floor(obs):
        return FloorPlans(config, key=key)
    if isinstance(config, RecurrentPPOConfig) and is_floor(obs):
        return FloorMemory(config.hidden_sizes, config.memory_size, config.return_scale, key=key)
    if isinstance(config, RecurrentPPOConfig) and is_flat(obs):
        sizes = config.hidden_sizes, config.memory_size, config.return_scale
        return FlatMemory(obs.shape[0], num_actions, *sizes, key=key)
    raise ValueError(f"obs: no network for {obs.dtype}{list(obs.shape)} with {type(config).__name__}")
