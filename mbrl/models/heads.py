"""Networks of an entity-wise model's heads: from inputs, as a view has them, to outputs.

    NearHead    nine cells, each embedded by the same linear map, and global features ─► MLP
    GridHead    embedded cells about the thing ─► convolutions; every cell ─► maximum and mean over the floor; ─► MLP
    DenseHead   embedded floor, every cell by itself, and the thing's cell as one of many ─► MLP

`NearHead` and `GridHead` know no absolute position, and see things in the direction of the action; `DenseHead` knows
nothing else, and has to learn every rule anew in every place and direction. Until they have learnt otherwise, heads say
that nothing happens: class 0, no bit, no reward.

References: Chang et al., 2017, A Compositional Object-Based Approach to Learning Physical Dynamics (`local`: things see
what is near them; here cells instead of pairs of objects, and probabilities of moves instead of velocities). Guez et
al., 2019, An Investigation of Model-Free Planning (`grid`: maximum and mean over the floor, there in every cell, here
once). Chua et al., 2018, Deep Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models
(`dense`: a perceptron that says how probable what comes next is; here classes instead of normal distributions).
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from envs.types import NUM_ACTIONS, NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS
from mbrl.configs import CellsConfig, DenseConfig, GridConfig, LocalConfig
from mbrl.models.neighbourhoods import CELL_FEATURES, GLOBAL_FEATURES, RELATIVE, cell_features, features, turned
from mbrl.models.views import WALL, Near, View, Whole
from mbrl.networks import MLP, Convolution, Linear

INERTIA = 6.0
"""Logits, in nats, by which an untrained model holds that nothing happens."""


def view_of(config: LocalConfig) -> View:
    """Return what the heads of a model see."""
    if isinstance(config, GridConfig | DenseConfig | CellsConfig):
        return Whole(config.frame, turns=isinstance(config, GridConfig))
    return Near()


def make_head(num_outputs: int, config: LocalConfig, key: jax.Array) -> nnx.Module:
    """Make a head of a model of the given settings."""
    kind = {GridConfig: GridHead, DenseConfig: DenseHead}.get(type(config), NearHead)
    return kind(num_outputs, config, key=key)


def _body(num_in: int, num_outputs: int, config: LocalConfig, key: jax.Array) -> MLP:
    body = MLP((num_in, config.hidden_size, config.hidden_size, num_outputs), final_scale=0.1, key=key)
    body.layers[-1].bias = nnx.Param(jnp.full(num_outputs, -INERTIA / 2, jnp.float32).at[0].set(INERTIA / 2))
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


class CellTable(nnx.Module):
    """A linear map of a cell's features, looked up by its code."""

    def __init__(self, size: int, *, key: jax.Array):
        self.linear = Linear(CELL_FEATURES, size, key=key)

    def rows(self) -> Float[Array, "codes size"]:
        """Return what becomes of every code."""
        every = jnp.arange(NUM_TERRAINS * NUM_MARKINGS * NUM_OBJECTS)
        return self.linear(cell_features(every))

    def __call__(self, codes: Int[Array, "*n"]) -> Float[Array, "*n size"]:
        """Return what becomes of codes."""
        return self.rows()[codes]

    def pooled(self, codes: Int[Array, "n cells"]) -> Float[Array, "n features"]:
        """Return the maximum and the mean over cells of what is above 0; cell after cell, to stay in cache."""
        rows = nnx.relu(self.rows())

        def add(so_far, code):
            return (jnp.maximum(so_far[0], rows[code]), so_far[1] + rows[code]), None

        nothing = jnp.zeros((len(codes), rows.shape[1]))
        (most, total), _ = jax.lax.scan(add, (nothing, nothing), codes.T)
        return jnp.concatenate([most, total / codes.shape[1]], axis=1)


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


def _convolutions(num_in: int, num_channels: int, keys: Sequence[jax.Array]) -> nnx.List[Convolution]:
    """Make one layer for each key."""
    widths = [num_in] + [num_channels] * (len(keys) - 1)
    return nnx.List([Convolution(width, num_channels, key=key) for width, key in zip(widths, keys, strict=True)])


class Trunk(nnx.Module):
    """A floor, every cell of which is shown action and power, too, through convolutions; beyond its edge is wall."""

    def __init__(self, embedding_size: int, num_channels: int, num_convolutions: int, *, key: jax.Array):
        cell_key, *keys = jax.random.split(key, 1 + num_convolutions)
        self.embed = Linear(CELL_FEATURES + NUM_ACTIONS + 1, embedding_size, key=cell_key)
        self.convolutions = _convolutions(embedding_size, num_channels, keys)

    def __call__(self, inputs: Int[Array, "n inputs"], shape: tuple[int, int]) -> Float[Array, "n cells channels"]:
        """Return what is made of every cell of inputs of the view `Whole`."""
        cells, _, rest = _taken_apart(inputs, shape)
        everywhere = lambda cells: jnp.broadcast_to(rest[:, None], (*cells.shape[:2], rest.shape[1]))  # noqa: E731
        wall = jnp.broadcast_to(cell_features(WALL), (len(inputs), 1, CELL_FEATURES))
        floor, beyond = (self.embed(jnp.concatenate([part, everywhere(part)], axis=2)) for part in (cells, wall))
        floor, beyond = floor.reshape(len(inputs), *shape, floor.shape[-1]), beyond[:, None]
        for layer in self.convolutions:
            floor = jnp.pad(floor - beyond, ((0, 0), (1, 1), (1, 1), (0, 0))) + beyond
            floor, beyond = nnx.relu(layer(floor)), nnx.relu(layer(jnp.tile(beyond, (1, 3, 3, 1))))
        return floor.reshape(len(inputs), math.prod(shape), floor.shape[-1])


class GridHead(nnx.Module):
    """A head that sees the cells about the thing through convolutions, and all cells, each by itself, pooled."""

    def __init__(self, num_outputs: int, config: GridConfig, *, key: jax.Array):
        cell_key, pool_key, body_key, *keys = jax.random.split(key, 3 + config.num_convolutions)
        self.shape, self.reach = Whole(config.frame).shape, config.num_convolutions
        self.embed = CellTable(config.embedding_size, key=cell_key)
        self.convolutions = _convolutions(config.embedding_size, config.num_channels, keys)
        self.everywhere = CellTable(config.num_channels, key=pool_key)
        self.body = _body(3 * config.num_channels + 2, num_outputs, config, body_key)

    def __call__(self, inputs: Int[Array, "n inputs"]) -> Float[Array, "n outputs"]:
        """Return the outputs."""
        codes = inputs.astype(jnp.int32)
        cells, (place, action, power) = codes[:, :-3], codes[:, -3:].T
        ahead, marking = jnp.maximum(action - 1, 0), cells // NUM_OBJECTS % NUM_MARKINGS
        cells = cells + (jnp.asarray(RELATIVE)[ahead[:, None], marking] - marking) * NUM_OBJECTS
        near = self.embed(self._about(cells, place, ahead))
        for layer in self.convolutions:
            near = nnx.relu(layer(near))
        rest = jnp.stack([action > 0, power], axis=1)
        return self.body(jnp.concatenate([near[:, 0, 0], self.everywhere.pooled(cells), rest], axis=1))

    def _about(self, cells: Array, place: Array, ahead: Array) -> Int[Array, "n rows columns"]:
        """Return the codes of the cells within reach of the thing, the one that is ahead on top."""
        count, (height, width), reach, side = len(cells), self.shape, self.reach, 2 * self.reach + 1
        around = ((0, 0), (reach, reach), (reach, reach))
        padded = jnp.pad(cells.reshape(count, height, width), around, constant_values=WALL)
        row_step, column_step = np.divmod(turned(side), side)
        row, column = jnp.divmod(place, width)
        corner, steps = row * (width + 2 * reach) + column, row_step * (width + 2 * reach) + column_step
        padded = padded.reshape(count, math.prod(padded.shape[1:]))
        return jnp.take_along_axis(padded, corner[:, None] + jnp.asarray(steps)[ahead], 1).reshape(count, side, side)
