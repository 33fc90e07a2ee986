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
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx, struct
from jaxtyping import Array, Float, Int

from mbrl.types import Rates


def orthogonal(key: jax.Array, shape: tuple[int, ...], scale: float = 1.0) -> Float[Array, "..."]:
    """Draw a matrix with orthonormal rows or columns, times `scale` (Saxe, McClelland and Ganguli, 2014).

    Under `vmap` one matrix is drawn after the other: jaxlib 0.10.2 factorises a batch by tasks for the very pool of
    threads that it then blocks a thread of, and a pool of two threads can so wait for itself for ever.
    """
    draw = jax.custom_batching.sequential_vmap(lambda key: nnx.initializers.orthogonal(scale)(key, shape))
    return draw(key)


def normed(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Divide by the root of the mean square (Zhang and Sennrich, 2019), without a learnt scale."""
    return x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-4)


class Linear(nnx.Module):
    """An affine map `x ↦ x W + b`, with orthogonal W and b = 0 at first."""

    def __init__(self, num_in: int, num_out: int, *, scale: float = 1.0, key: jax.Array):
        self.weight = nnx.Param(orthogonal(key, (num_in, num_out), scale))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, inputs: Float[Array, "*batch num_in"]) -> Float[Array, "*batch num_out"]:
        """Apply the map to the last axis."""
        return inputs @ self.weight[...] + self.bias[...]


class Convolution(nnx.Module):
    """A 3 × 3 convolution as nine matrices (CPUs are slow at convolutions of many networks at once)."""

    def __init__(self, num_in: int, num_out: int, *, key: jax.Array):
        self.weight = nnx.Param(orthogonal(key, (9 * num_in, num_out), 2**0.5).reshape(9, num_in, num_out))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(self, floor: Float[Array, "*n rows+2 columns+2 num_in"]) -> Float[Array, "*n rows columns num_out"]:
        """Return the convolution at all cells but the outermost."""
        rows, columns, total = floor.shape[-3] - 2, floor.shape[-2] - 2, self.bias[...]
        for k, weight in enumerate(self.weight[...]):
            i, j = divmod(k, 3)
            total = total + floor[..., i : i + rows, j : j + columns, :] @ weight
        return total


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


class FitState(NamedTuple):
    """A model in training; `key` and `rates` are constant, step i draws its batch by `fold_in(key, i)`."""

    train: TrainState
    key: jax.Array
    rates: Rates


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


class ActorCritic(nnx.Module):
    """A policy and a value on one torso, for flat observations; values are learnt in units of `return_scale`."""

    def __init__(
        self, num_in: int, num_actions: int, hidden_sizes: Sequence[int], return_scale: float, *, key: jax.Array
    ):
        torso_key, actor_key, critic_key = jax.random.split(key, 3)
        self.torso = FlatTorso(num_in, hidden_sizes, key=torso_key)
        self.actor = Linear(hidden_sizes[-1], num_actions, scale=0.01, key=actor_key)
        self.critic = Linear(hidden_sizes[-1], 1, scale=0.1, key=critic_key)
        self.return_scale = return_scale

    def __call__(self, obs: Float[Array, "num_in"]) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value at `obs` (unbatched)."""
        features = self.torso(obs)
        return Categorical(self.actor(features)), self.critic(features)[0] * self.return_scale
