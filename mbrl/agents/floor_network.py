"""The network with which a model-free agent sees the factory: the whole floor from the robot, alike in all directions.

    codes of a cell ─► what is there: sum of embeddings, wall and emptiness being zero; where its marking points
    floor ─► every cell near the robot ┐  in 8 poses: up, right, …
             sums of all rows          ├─ ahead, as it is or mirrored ─► layers h[pose]
             sums of all columns       ┘                                  ▲
    what there is anywhere, or on a marked way; carried; light ─► the hall ┘

    a torso for the policy ─► logit of what is ahead; mean over poses ─► NOOP's logit
    a torso for the value  ─► mean over poses ─► value

Turn or mirror a floor, and the best actions turn or mirror with it; `local` is given that too, by cells that are seen
in the direction of the action. Here weights are shared between the poses (see poses.py).

Places are offsets from the robot. The context (what the robot carries, whether there is light) scales the first layer,
which can so mean one thing on the way to the feeder and another on the way to the press. Context and what there is
anywhere on the floor, or on a cell with a marking, shift it, as `local` is given circuits as global bits; combinations
of these, which one layer must find (the hall), shift the layers that follow. As wall is zero, a floor looks the same
however a bank pads it. What an input teaches grows with its size: fixtures and objects begin with larger embeddings
than bare floor, so that the few cells that matter are not drowned by the many that do not, and cells are shown the
larger the closer they are, so that a policy soon learns what it bumps into.

Reference: van der Pol, Worrall, van Hoof, Oliehoek and Welling, 2020, MDP Homomorphic Networks.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, UInt8

from mbrl.agents.poses import NUM_POSES, FloorLinear, PoseLinear, by_parity
from mbrl.networks import Categorical, Linear, normed

# Codes of the observation that have an embedding: all but wall, no object (see DESIGN, Observation).
_TERRAINS = np.array([0, *range(2, 18)], np.uint8)
_OBJECTS = np.arange(1, 13, dtype=np.uint8)
_NUM_CODES, _FLOOR = len(_TERRAINS) + len(_OBJECTS), 0
_NUM_TERRAINS, _NUM_OBJECTS, _NUM_MARKINGS = 18, 13, 5
_ARROWS = 0.5 * np.array([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]], np.float32)
"""Where each marking points: rows down, columns to the right."""
_NUM_CONTEXTS = 6
_NUM_GLOBALS = _NUM_CONTEXTS + 2 * _NUM_CODES
_CLOSE = {0: 8.0, 1: 8.0, 2: 3.0}
"""How much larger than life cells are shown at these distances (rows or columns, whichever is more)."""


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


def _closeness(reach: int) -> np.ndarray:
    """Return `[side, side, 1]`, how large the cells about the robot are shown."""
    offset = np.abs(np.arange(-reach, reach + 1))
    distance = np.maximum(offset[:, None], offset)
    return np.vectorize(lambda d: _CLOSE.get(d, 1.0))(distance).astype(np.float32)[..., None]


class Seen(NamedTuple):
    """What a robot sees of a floor: what is about it (see `by_parity`), what is anywhere and what on a way."""

    around: list[Float[Array, "cells"]]
    context: Float[Array, "contexts"]
    anywhere: Float[Array, "codes"]
    on_way: Float[Array, "codes"]


class FloorView(nnx.Module):
    """How an observation of the factory, of any size, looks from the robot.

    Args:
        reach: how far the robot sees single cells.
        far: how far it sees sums of rows and columns.
    """

    def __init__(self, *, reach: int = 4, far: int = 10, embedding_size: int = 6, key: jax.Array):
        scale = np.full((_NUM_CODES, 1), 3.0)
        scale[_FLOOR] = 0.5
        self.embedding = nnx.Param(scale * jax.random.normal(key, (_NUM_CODES, embedding_size)))
        self.reach, self.far = reach, far

    def __call__(self, obs: UInt8[Array, "height width 4"]) -> Seen:
        """Look (unbatched)."""
        terrain, marking, thing = obs[..., 0], obs[..., 1], obs[..., 2]
        is_robot = (thing >= 1) & (thing <= 3)
        row = jnp.sum(jnp.any(is_robot, axis=1) * jnp.arange(obs.shape[0]))
        column = jnp.sum(jnp.any(is_robot, axis=0) * jnp.arange(obs.shape[1]))
        context = 2 * (jnp.sum(is_robot * thing) - 1) + obs[0, 0, 3]
        places, things = self._tables()
        cells = places[terrain.astype(int) * _NUM_MARKINGS + marking] + things[thing]
        near = crop(cells, row, column, (self.reach, self.reach)) * _closeness(self.reach)
        down = crop(jnp.sum(cells, axis=1, keepdims=True), row, jnp.zeros_like(column), (self.far, 0))[:, 0]
        across = crop(jnp.sum(cells, axis=0, keepdims=True), jnp.zeros_like(row), column, (0, self.far))[0]
        return Seen(
            around=by_parity(near, down, across),
            context=(context == jnp.arange(_NUM_CONTEXTS)).astype(jnp.float32),
            anywhere=_present(terrain, thing, jnp.ones_like(terrain, bool)),
            on_way=_present(terrain, thing, marking > 0),
        )

    def _tables(self) -> tuple[Float[Array, "terrains_and_markings channels"], Float[Array, "objects channels"]]:
        """Return what a cell shows of its terrain and marking together, and of what is on it: lookups are fast."""
        embedding = self.embedding[...]
        terrains = jnp.zeros((_NUM_TERRAINS, embedding.shape[1])).at[_TERRAINS].set(embedding[: len(_TERRAINS)])
        things = jnp.zeros((_NUM_OBJECTS, embedding.shape[1])).at[_OBJECTS].set(embedding[len(_TERRAINS) :])
        terrains, things = (jnp.pad(table, ((0, 0), (0, 2))) for table in (terrains, things))
        arrows = jnp.pad(_ARROWS, ((0, 0), (embedding.shape[1], 0)))
        places = (terrains[:, None] + arrows).reshape(_NUM_TERRAINS * _NUM_MARKINGS, -1)
        return places, things


def _present(
    terrain: UInt8[Array, "height width"], thing: UInt8[Array, "height width"], where: Bool[Array, "height width"]
) -> Float[Array, "codes"]:
    """Tell of each code whether it is in one of some cells, by a bit for each."""

    def bits(codes, offered):
        each = jnp.where(where, jnp.uint32(1) << codes.astype(jnp.uint32), 0)
        found = jax.lax.reduce(each, jnp.uint32(0), jax.lax.bitwise_or, (0, 1))
        return found >> offered.astype(np.uint32) & 1

    return jnp.concatenate([bits(terrain, _TERRAINS), bits(thing, _OBJECTS)]).astype(jnp.float32)


class FloorTorso(nnx.Module):
    """Features of each pose from what is seen.

    Args:
        view: what sees.
        hidden_sizes: widths of the layers, an eighth of them for each pose.
        hall_size: width of the layer that joins what there is anywhere, before it shifts all layers but the first.
        is_normed: whether layers are divided by the root of their mean square before they are cut off at 0.
    """

    def __init__(
        self,
        view: FloorView,
        hidden_sizes: Sequence[int],
        *,
        hall_size: int = 64,
        is_normed: bool = False,
        key: jax.Array,
    ):
        if any(size % NUM_POSES for size in hidden_sizes):
            raise ValueError(f"hidden_sizes: expected multiples of {NUM_POSES}, got {tuple(hidden_sizes)}")
        sizes = [size // NUM_POSES for size in hidden_sizes]
        first_key, gain_key, rest_key, hall_key, shift_key = jax.random.split(key, 5)
        channels = view.embedding[...].shape[1] + 2
        self.first = FloorLinear(view.reach, view.far, channels, sizes[0], key=first_key)
        self.gain = nnx.Param(1.0 + 0.5 * jax.random.normal(gain_key, (_NUM_CONTEXTS, sizes[0])))
        self.bias = nnx.Param(jnp.zeros((_NUM_GLOBALS, sizes[0])))
        rest_keys, shift_keys = (jax.random.split(k, len(sizes))[1:] for k in (rest_key, shift_key))
        layers = zip(pairwise(sizes), rest_keys, strict=True)
        self.rest = nnx.List([PoseLinear(m, n, scale=2**0.5, key=k) for (m, n), k in layers])
        self.is_normed = is_normed
        self.hall = Linear(_NUM_GLOBALS, hall_size, scale=2**0.5, key=hall_key)
        self.shift = nnx.List([Linear(hall_size, n, key=k) for n, k in zip(sizes[1:], shift_keys, strict=True)])

    def __call__(self, seen: Seen) -> Float[Array, "8 features"]:
        """Return the features (unbatched)."""
        features = self.first(seen.around)
        known = jnp.concatenate([seen.context, seen.anywhere, seen.on_way])
        features = self._cut(features * (seen.context @ self.gain[...]) + known @ self.bias[...])
        hall = nnx.relu(self.hall(known))
        for layer, shift in zip(self.rest, self.shift, strict=True):
            features = self._cut(layer(features) + shift(hall))
        return features

    def _cut(self, features: Float[Array, "8 features"]) -> Float[Array, "8 features"]:
        return nnx.relu(normed(features.reshape(-1)).reshape(features.shape) if self.is_normed else features)


def of_actions(ahead: PoseLinear, idle: Linear, features: Float[Array, "8 features"]) -> Float[Array, "5"]:
    """Return a number for each action: NOOP's by `idle`, a direction's by the poses in which it is `ahead`."""
    moves = jnp.mean(ahead(features).reshape(4, 2), axis=1)
    return jnp.concatenate([idle(jnp.mean(features, axis=0)), moves])


class FloorNetwork(nnx.Module):
    """A policy and a value at an observation of the factory, each on a torso of its own.

    Few of the ticks that are learnt from show what a policy has yet to discover, and a value that says so must not have
    to share its features with the policy of the many others. Its last layer is twice as wide as the policy's; values
    are learnt in units of `return_scale`.
    """

    def __init__(self, hidden_sizes: Sequence[int], return_scale: float, *, key: jax.Array):
        view_key, policy_key, value_key, ahead_key, idle_key, critic_key = jax.random.split(key, 6)
        *sizes, last = hidden_sizes
        self.view = FloorView(key=view_key)
        self.policy_torso = FloorTorso(self.view, hidden_sizes, key=policy_key)
        self.value_torso = FloorTorso(self.view, (*sizes, 2 * last), key=value_key)
        self.ahead = PoseLinear(last // NUM_POSES, 1, scale=0.01, key=ahead_key)
        self.idle = Linear(last // NUM_POSES, 1, scale=0.01, key=idle_key)
        self.critic = Linear(2 * last // NUM_POSES, 1, scale=0.1, key=critic_key)
        self.return_scale = return_scale

    def __call__(self, obs: UInt8[Array, "height width 4"]) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over actions and the value at `obs` (unbatched)."""
        seen = self.view(obs)
        features = self.policy_torso(seen)
        logits = of_actions(self.ahead, self.idle, features)
        value = self.critic(jnp.mean(self.value_torso(seen), axis=0))[0]
        return Categorical(logits), value * self.return_scale
