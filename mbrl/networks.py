"""Building blocks of everything that learns, and the convention by which they are used.

A network is a `flax.nnx.Module`, written the Equinox way: an immutable pytree of parameters with real methods.

    model = MLP((4, 64, 2), key=key)                       # made once; attributes are set in __init__ alone
    outputs = jax.vmap(model)(inputs)                      # methods are unbatched; the caller vmaps
    gradients = jax.grad(lambda m: loss(m, inputs))(model) # a pytree of the same structure
    ensemble = jax.vmap(lambda k: MLP((4, 64, 2), key=k))(keys)
    outputs = jax.vmap(lambda m, x: m(x))(ensemble, inputs)

Arrays wrapped in `nnx.Param` are the leaves; sizes and functions are static structure. Models move through plain
`jax.jit / grad / vmap / lax.scan` and `optax`; `nnx.jit`, `nnx.Optimizer` and their kin are not used, nor are layers
that mutate themselves (dropout, batch normalisation). What training changes is a `TrainState`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from jaxtyping import Array, Float, Int, UInt8


def orthogonal(key: jax.Array, shape: tuple[int, ...], scale: float = 1.0) -> Float[Array, "..."]:
    """Draw a matrix with orthonormal rows or columns, times `scale` (Saxe, McClelland and Ganguli, 2014)."""
    return nnx.initializers.orthogonal(scale)(key, shape)


class Linear(nnx.Module):
    """An affine map `x ↦ x W + b`, with orthogonal W and b = 0 at first."""

    def __init__(self, num_in: int, num_out: int, *, scale: float = 1.0, key: jax.Array):
        self.weight = nnx.Param(orthogonal(key, (num_in, num_out), scale))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, inputs: Float[Array, "*batch num_in"]) -> Float[Array, "*batch num_out"]:
        """Apply the map to the last axis."""
        return inputs @ self.weight[...] + self.bias[...]


class MLP(nnx.Module):
    """Affine layers of widths `sizes` with `activation` between them, and none after the last."""

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[jax.Array], jax.Array] = nnx.relu,
        scale: float = 2**0.5,
        final_scale: float = 1.0,
        key: jax.Array,
    ):
        keys = jax.random.split(key, len(sizes) - 1)
        scales = [scale] * (len(sizes) - 2) + [final_scale]
        layers = [Linear(m, n, scale=s, key=k) for (m, n), s, k in zip(pairwise(sizes), scales, keys, strict=True)]
        self.layers = nnx.List(layers)
        self.activation = activation

    def __call__(self, inputs: Float[Array, "*batch num_in"]) -> Float[Array, "*batch num_out"]:
        """Apply the layers to the last axis."""
        for layer in self.layers[:-1]:
            inputs = self.activation(layer(inputs))
        return self.layers[-1](inputs)


@struct.dataclass
class TrainState:
    """A model in training: its parameters, the optimiser's memory, and the number of gradient steps taken."""

    model: Any
    opt_state: optax.OptState
    step: Int[Array, ""]

    @classmethod
    def create(cls, model: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        """Begin training `model`."""
        return cls(model=model, opt_state=optimizer.init(model), step=jnp.int32(0))

    def apply_gradients(self, gradients: Any, optimizer: optax.GradientTransformation) -> "TrainState":
        """Return the state after one step of `optimizer` along `gradients` (a pytree like the model)."""
        updates, opt_state = optimizer.update(gradients, self.opt_state, self.model)
        return replace(
            self,
            model=optax.apply_updates(self.model, updates),
            opt_state=opt_state,
            step=self.step + 1,
        )


class Categorical(NamedTuple):
    """A distribution over the last axis of `logits`."""

    logits: Float[Array, "*batch choices"]

    def sample(self, key: jax.Array) -> Int[Array, "*batch"]:
        """Draw one choice per batch element."""
        return jax.random.categorical(key, self.logits)

    def mode(self) -> Int[Array, "*batch"]:
        """Return the likeliest choice; ties go to the lowest index."""
        return jnp.argmax(self.logits, axis=-1)

    def log_prob(self, choice: Int[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return log p(choice)."""
        log_probs = jax.nn.log_softmax(self.logits)
        # A masked sum rather than a gather: its gradient is not a scatter, which XLA runs slowly on CPUs.
        chosen = choice[..., None] == jnp.arange(self.logits.shape[-1])
        return jnp.sum(jnp.where(chosen, log_probs, 0.0), axis=-1)

    def entropy(self) -> Float[Array, "*batch"]:
        """Return −Σ p log p, in nats."""
        log_probs = jax.nn.log_softmax(self.logits)
        return -jnp.sum(jnp.exp(log_probs) * log_probs, axis=-1)


class FlatTorso(nnx.Module):
    """Features of a flat float observation."""

    def __init__(self, num_in: int, hidden_sizes: Sequence[int], *, key: jax.Array):
        self.mlp = MLP((num_in, *hidden_sizes), activation=nnx.tanh, final_scale=2**0.5, key=key)

    def __call__(self, obs: Float[Array, "num_in"]) -> Float[Array, "features"]:
        """Return the features (unbatched)."""
        return nnx.tanh(self.mlp(obs))


# Codes of the observation that have an embedding: all but wall, no marking, no object (see DESIGN, Observation).
_TERRAINS = np.array([0, *range(2, 18)], np.uint8)
_MARKING_CODES = np.arange(1, 5, dtype=np.uint8)
_OBJECTS = np.arange(1, 13, dtype=np.uint8)
_NUM_CODES = len(_TERRAINS) + len(_MARKING_CODES) + len(_OBJECTS)
_FLOOR, _MARKINGS = 0, slice(len(_TERRAINS), len(_TERRAINS) + len(_MARKING_CODES))
_NUM_CONTEXTS = 6


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def crop(
    grid: Float[Array, "height width d"], row: Int[Array, ""], column: Int[Array, ""], reach: tuple[int, int]
) -> Float[Array, "rows columns d"]:
    """Cut out the cells within `reach` of one cell, `[2·reach + 1]` each way, with zeros for what is off the grid.

    The gradient is written out because it is a crop too, of the gradient, around the mirrored place; what JAX derives
    of a dynamic slice is a scatter, which made the gradient take twice as long on a CPU.
    """
    padded = jnp.pad(grid, ((reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    return jax.lax.dynamic_slice(padded, (row, column, 0), (2 * reach[0] + 1, 2 * reach[1] + 1, grid.shape[2]))


def _crop_forward(grid, row, column, reach):
    return crop(grid, row, column, reach), (row, column, grid)


def _crop_backward(reach, residuals, gradient):
    row, column, grid = residuals
    height, width, _ = grid.shape
    # grid[r, c] went to crop[r − row + reach, c − column + reach]; pad until every such index exists.
    extra = max(0, height - 1 - reach[0]), max(0, width - 1 - reach[1])
    padded = jnp.pad(gradient, ((extra[0], extra[0]), (extra[1], extra[1]), (0, 0)))
    start = (reach[0] - row + extra[0], reach[1] - column + extra[1], 0)
    none = np.zeros((), jax.dtypes.float0)
    return jax.lax.dynamic_slice(padded, start, (height, width, gradient.shape[2])), none, none


crop.defvjp(_crop_forward, _crop_backward)


class FactoryTorso(nnx.Module):
    """Features of the factory's observation: the whole floor, seen from the robot.

        codes of a cell  →  sum of their embeddings, wall and emptiness being zero
        floor  →  every cell near the robot  ┐
                  sums of all rows           ├  affine · gain[context] + bias[context]  →  relu  →  layers
                  sums of all columns        ┘

    Places are offsets from the robot. The context is what the robot carries and whether there is light, so that the
    first layer can mean one thing on the way to the feeder and another on the way to the press. As wall is zero, a
    floor looks the same however a bank pads it; and as fixtures and objects begin with far larger embeddings than bare
    floor, the few cells that matter are not drowned by the many that do not: PPO made ten times the clips after its
    first 120,000 steps.
    """

    def __init__(
        self,
        floor: tuple[int, int],
        hidden_sizes: Sequence[int],
        *,
        reach: tuple[int, int] = (3, 6),
        embedding_size: int = 6,
        key: jax.Array,
    ):
        embedding_key, first_key, gain_key, rest_key = jax.random.split(key, 4)
        scale = np.full((_NUM_CODES, 1), 3.0)
        scale[_FLOOR], scale[_MARKINGS] = 0.3, 0.5
        self.embedding = nnx.Param(scale * jax.random.normal(embedding_key, (_NUM_CODES, embedding_size)))
        self.reach = reach
        self.far = (floor[0] - 1, floor[1] - 1)
        num_cells = (2 * reach[0] + 1) * (2 * reach[1] + 1) + (2 * self.far[0] + 1) + (2 * self.far[1] + 1)
        self.first = Linear(num_cells * embedding_size, hidden_sizes[0], key=first_key)
        self.gain = nnx.Param(1.0 + 0.5 * jax.random.normal(gain_key, (_NUM_CONTEXTS, hidden_sizes[0])))
        self.bias = nnx.Param(jnp.zeros((_NUM_CONTEXTS, hidden_sizes[0])))
        rest_keys = jax.random.split(rest_key, len(hidden_sizes))
        layers = zip(pairwise(hidden_sizes), rest_keys[1:], strict=True)
        self.rest = nnx.List([Linear(m, n, scale=2**0.5, key=k) for (m, n), k in layers])

    def __call__(self, obs: UInt8[Array, "height width 4"]) -> Float[Array, "features"]:
        """Return the features (unbatched); the floor may be larger or smaller than the one trained on."""
        terrain, marking, thing = obs[..., 0], obs[..., 1], obs[..., 2]
        is_robot = (thing >= 1) & (thing <= 3)
        row = jnp.sum(jnp.any(is_robot, axis=1) * jnp.arange(obs.shape[0]))
        column = jnp.sum(jnp.any(is_robot, axis=0) * jnp.arange(obs.shape[1]))
        context = 2 * (jnp.sum(is_robot * thing) - 1) + obs[0, 0, 3]
        context = (context == jnp.arange(_NUM_CONTEXTS)).astype(jnp.float32)

        shown = (terrain, _TERRAINS), (marking, _MARKING_CODES), (thing, _OBJECTS)
        present = jnp.concatenate([channel[..., None] == codes for channel, codes in shown], axis=-1)
        cells = present.astype(jnp.float32) @ self.embedding[...]
        seen = [
            crop(cells, row, column, self.reach),
            crop(jnp.sum(cells, axis=1, keepdims=True), row, jnp.zeros_like(column), (self.far[0], 0)),
            crop(jnp.sum(cells, axis=0, keepdims=True), jnp.zeros_like(row), column, (0, self.far[1])),
        ]
        inputs = self.first(jnp.concatenate([part.reshape(-1) for part in seen]))
        features = nnx.relu(inputs * (context @ self.gain[...]) + context @ self.bias[...])
        for layer in self.rest:
            features = nnx.relu(layer(features))
        return features


def make_torso(obs: Array, hidden_sizes: Sequence[int], *, key: jax.Array) -> FlatTorso | FactoryTorso:
    """Make the torso that fits an observation: flat floats, or the floor of the factory.

    Raises:
        ValueError: it is neither.
    """
    if obs.ndim == 1 and jnp.issubdtype(obs.dtype, jnp.floating):
        return FlatTorso(obs.shape[0], hidden_sizes, key=key)
    if obs.ndim == 3 and obs.shape[-1] == 4 and obs.dtype == jnp.uint8:
        return FactoryTorso((obs.shape[0], obs.shape[1]), hidden_sizes, key=key)
    raise ValueError(f"obs: no torso for {obs.dtype}{list(obs.shape)}, expected float32[n] or uint8[H, W, 4]")


class ActorCritic(nnx.Module):
    """A policy and a value on one torso; values are learnt in units of `return_scale`."""

    def __init__(
        self, obs: Array, num_actions: int, hidden_sizes: tuple[int, ...], return_scale: float, *, key: jax.Array
    ):
        torso_key, actor_key, critic_key = jax.random.split(key, 3)
        self.torso = make_torso(obs, hidden_sizes, key=torso_key)
        self.actor = Linear(hidden_sizes[-1], num_actions, scale=0.01, key=actor_key)
        self.critic = Linear(hidden_sizes[-1], 1, scale=0.1, key=critic_key)
        self.return_scale = return_scale

    def __call__(self, obs: jax.Array) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value at `obs` (unbatched)."""
        features = self.torso(obs)
        return Categorical(self.actor(features)), self.critic(features)[0] * self.return_scale
