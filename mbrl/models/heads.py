"""Networks of an entity-wise model's heads: from inputs, as a view has them, to outputs.

    NearHead    nine cells, each embedded by the same linear map, and global features ─► MLP
    GridHead    embedded floor ─► convolutions ─► at the thing's cell, and the maximum and mean over all cells ─► MLP
    DenseHead   embedded floor, every cell by itself, and the thing's cell as one of many ─► MLP

`GridHead` knows no absolute position, as `NearHead` does not; `DenseHead` knows nothing else, and has to learn every
rule anew in every place. Until they have learnt otherwise, heads say that nothing happens: class 0, no bit, no reward.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from envs.types import NUM_ACTIONS
from mbrl.configs import CellsConfig, DenseConfig, GridConfig, LocalConfig
from mbrl.models.neighbourhoods import CELL_FEATURES, GLOBAL_FEATURES, cell_features, features
from mbrl.models.views import WALL, Near, View, Whole
from mbrl.networks import MLP, Linear, orthogonal

INERTIA = 6.0
"""Logits, in nats, by which an untrained model holds that nothing happens."""


def view_of(config: LocalConfig) -> View:
    """Return what the heads of a model see."""
    return Whole(config.frame) if isinstance(config, GridConfig | DenseConfig | CellsConfig) else Near()


def make_head(num_outputs: int, config: LocalConfig, key: jax.Array) -> nnx.Module:
    """Make a head of a model of the given settings."""
    kind = {GridConfig: GridHead, DenseConfig: DenseHead}.get(type(config), NearHead)
    return kind(num_outputs, config, key=key)


def _body(num_in: int, num_outputs: int, config: LocalConfig, key: jax.Array) -> MLP:
    body = MLP((num_in, config.hidden_size, config.hidden_size, num_outputs), final_scale=0.1, key=key)
    body.layers[-1].bias = nnx.Param(jnp.full(num_outputs, -INERTIA / 2).at[0].set(INERTIA / 2))
    return body


def _side_by_side(cells: Float[Array, "*n cells size"]) -> Float[Array, "*n features"]:
    """Join the last two axes, also where there is nothing."""
    return cells.reshape(*cells.shape[:-2], cells.shape[-2] * cells.shape[-1])


class NearHead(nnx.Module):
    """A head that sees nine cells."""

    def __init__(self, num_outputs: int, config: LocalConfig, *, key: jax.Array):
        cell_key, body_key = jax.random.split(key)
        self.embed = Linear(CELL_FEATURES, config.embedding_size, key=cell_key)
        self.body = _body(9 * config.embedding_size + GLOBAL_FEATURES, num_outputs, config, body_key)

    def __call__(self, inputs: Int[Array, "n 13"]) -> Float[Array, "n outputs"]:
        """Return the outputs."""
        cells, rest = features(inputs)
        embedded = _side_by_side(self.embed(cells))
        return self.body(jnp.concatenate([embedded, rest], axis=-1))


def _taken_apart(inputs: Array, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Return of inputs of the view `Whole` the cells' features `[n, cells, f]`, the place, and action and power."""
    codes = inputs.astype(jnp.int32)
    rest = jnp.concatenate([jax.nn.one_hot(codes[:, -2], NUM_ACTIONS), codes[:, -1:]], axis=1)
    return cell_features(codes[:, : math.prod(shape)]), codes[:, -3], rest


class DenseHead(nnx.Module):
    """A head that sees the floor as one long vector."""

    def __init__(self, num_outputs: int, config: DenseConfig, *, key: jax.Array):
        cell_key, body_key = jax.random.split(key)
        self.shape = Whole(config.frame).shape
        num_cells = math.prod(self.shape)
        self.embed = Linear(CELL_FEATURES, config.embedding_size, key=cell_key)
        num_in = num_cells * (config.embedding_size + 1) + NUM_ACTIONS + 1
        self.body = _body(num_in, num_outputs, config, body_key)

    def __call__(self, inputs: Int[Array, "n inputs"]) -> Float[Array, "n outputs"]:
        """Return the outputs."""
        cells, place, rest = _taken_apart(inputs, self.shape)
        there = jax.nn.one_hot(place, cells.shape[1])
        embedded = _side_by_side(self.embed(cells))
        return self.body(jnp.concatenate([embedded, there, rest], axis=1))


class Convolution(nnx.Module):
    """A 3 × 3 convolution as nine matrices (CPUs are slow at convolutions of many models at once)."""

    def __init__(self, num_in: int, num_out: int, *, key: jax.Array):
        self.weight = nnx.Param(orthogonal(key, (9 * num_in, num_out), 2**0.5).reshape(9, num_in, num_out))
        self.bias = nnx.Param(jnp.zeros(num_out))

    def __call__(
        self, floor: Float[Array, "n rows columns num_in"], beyond: Float[Array, "*n num_in"]
    ) -> tuple[Float[Array, "n rows columns num_out"], Float[Array, "*n num_out"]]:
        """Return the convolution of a floor beyond whose edge every cell is `beyond`, and what that becomes.

        `beyond` is the same for all floors, or one for each, `[n, 1, 1, num_in]`.
        """
        rows, columns = floor.shape[1:3]
        padded = jnp.pad(floor - beyond, ((0, 0), (1, 1), (1, 1), (0, 0)))
        total = nothing = beyond @ self.weight[...].sum(0) + self.bias[...]
        for k in range(9):
            i, j = divmod(k, 3)
            total = total + padded[:, i : i + rows, j : j + columns] @ self.weight[...][k]
        return total, nothing


class Trunk(nnx.Module):
    """A floor through convolutions; beyond its edge there is wall.

    Args:
        num_in: features of a cell, and, if more than these, action and power, which every cell is shown, too.
        embedding_size, num_channels, num_convolutions: sizes.
    """

    def __init__(self, num_in: int, embedding_size: int, num_channels: int, num_convolutions: int, *, key: jax.Array):
        cell_key, *keys = jax.random.split(key, 1 + num_convolutions)
        self.embed = Linear(num_in, embedding_size, key=cell_key)
        widths = [embedding_size] + [num_channels] * num_convolutions
        layers = [Convolution(n, num_channels, key=k) for n, k in zip(widths[:-1], keys, strict=True)]
        self.convolutions = nnx.List(layers)
        self.shows_all = num_in > CELL_FEATURES

    def __call__(self, inputs: Int[Array, "n inputs"], shape: tuple[int, int]) -> Float[Array, "n cells channels"]:
        """Return what is made of every cell of inputs of the view `Whole`."""
        cells, _, rest = _taken_apart(inputs, shape)
        wall = cell_features(WALL)
        if self.shows_all:
            rest = rest[:, None]
            cells = jnp.concatenate([cells, jnp.broadcast_to(rest, (*cells.shape[:2], rest.shape[2]))], axis=2)
            wall = jnp.concatenate([jnp.broadcast_to(wall, (len(cells), 1, len(wall))), rest], axis=2)[:, None]
        floor, beyond = self.embed(cells), self.embed(wall)
        floor = floor.reshape(len(inputs), *shape, floor.shape[-1])
        for layer in self.convolutions:
            floor, beyond = map(nnx.relu, layer(floor, beyond))
        return floor.reshape(len(inputs), math.prod(shape), floor.shape[-1])


class GridHead(nnx.Module):
    """A head that sees the floor through convolutions."""

    def __init__(self, num_outputs: int, config: GridConfig, *, key: jax.Array):
        trunk_key, body_key = jax.random.split(key)
        self.shape = Whole(config.frame).shape
        sizes = CELL_FEATURES, config.embedding_size, config.num_channels, config.num_convolutions
        self.trunk = Trunk(*sizes, key=trunk_key)
        self.body = _body(3 * config.num_channels + NUM_ACTIONS + 1, num_outputs, config, body_key)

    def __call__(self, inputs: Int[Array, "n inputs"]) -> Float[Array, "n outputs"]:
        """Return the outputs."""
        _, place, rest = _taken_apart(inputs, self.shape)
        floor = self.trunk(inputs, self.shape)
        here = jnp.take_along_axis(floor, place[:, None, None], axis=1)[:, 0]
        return self.body(jnp.concatenate([here, floor.max(1), floor.mean(1), rest], axis=1))
