"""The network with which a model-free agent sees the factory: the whole floor from the robot, alike in all directions.

    codes of a cell ─► what is there: sum of embeddings, wall and emptiness being zero; where its marking points
    floor ─► every cell near the robot ┐  in 8 poses: up, right, …
             sums of all rows          ├─ ahead, as it is or mirrored ─► layers h[pose]
             sums of all columns       ┘                                  ▲
    what there is anywhere, or on a marked way; carried; light ─► the hall ┘

    a torso for the policy ─► logit of what is ahead; mean over poses ─► NOOP's logit
    a torso for the value  ─► mean over poses ─► value

Turn or mirror a floor, and the best actions turn or mirror with it; `local` is given that too, by cells that are seen
in the direction of the action. Here weights are shared between the poses, so that a layer is an ordinary matrix whose
blocks are copies of one, turned: W[pose, cells] in the first layer, W[pose, pose'] in those that follow.

Places are offsets from the robot. The context (what the robot carries, whether there is light) scales the first layer,
which can so mean one thing on the way to the feeder and another on the way to the press. Context and what there is
anywhere on the floor, or on a cell with a marking, shift it, as `local` is given circuits as global bits; combinations
of these, which one layer must find (the hall), shift the layers that follow. As wall is zero, a floor looks the same
however a bank pads it. What an input teaches grows with its size: fixtures and objects begin with larger embeddings
than bare floor, so that the few cells that matter are not drowned by the many that do not, and cells are shown the
larger the closer they are, so that a policy soon learns what it bumps into.

References: Cohen and Welling, 2016, Group Equivariant Convolutional Networks; van der Pol, Worrall, van Hoof, Oliehoek
and Welling, 2020, MDP Homomorphic Networks.
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
POSES = [(turn, mirrored) for turn in range(4) for mirrored in (False, True)]
"""What is ahead, up, right, down or left; whether left and right are exchanged."""
NUM_POSES = len(POSES)


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


def _posed(grid: np.ndarray, turn: int, mirrored: bool) -> np.ndarray:
    """Turn a grid so that the direction of number `turn` comes to the top, then mirror it if asked to."""
    grid = np.rot90(grid, turn)
    return grid[:, ::-1] if mirrored else grid


def _closeness(reach: int) -> np.ndarray:
    """Return `[side, side, 1]`, how large the cells about the robot are shown."""
    offset = np.abs(np.arange(-reach, reach + 1))
    distance = np.maximum(offset[:, None], offset)
    return np.vectorize(lambda d: _CLOSE.get(d, 1.0))(distance).astype(np.float32)[..., None]


def _relations() -> np.ndarray:
    """Return for poses g and h the number of the pose k that is to g what h is to the first: h = g then k."""
    tag = np.arange(9).reshape(3, 3)
    number = {_posed(tag, *pose).tobytes(): i for i, pose in enumerate(POSES)}
    relation = np.zeros((NUM_POSES, NUM_POSES), int)
    for g, pose in enumerate(POSES):
        for k, further in enumerate(POSES):
            relation[g, number[_posed(_posed(tag, *pose), *further).tobytes()]] = k
    return relation


_RELATIONS = _relations()


class PoseLinear(nnx.Module):
    """A layer from features of each pose to features of each pose: out[g] = Σₕ in[h] W[relation of g and h] + b."""

    def __init__(self, num_in: int, num_out: int, *, scale: float, key: jax.Array):
        linear = Linear(NUM_POSES * num_in, num_out, scale=scale, key=key)
        self.weight, self.bias = nnx.Param(linear.weight[...].reshape(NUM_POSES, num_in, num_out)), linear.bias

    def __call__(self, features: Float[Array, "8 num_in"]) -> Float[Array, "8 num_out"]:
        """Apply the layer."""
        num_in, num_out = self.weight[...].shape[1:]
        blocks = self.weight[...][_RELATIONS]  # [g, h, in, out]
        matrix = blocks.transpose(1, 2, 0, 3).reshape(NUM_POSES * num_in, NUM_POSES * num_out)
        return (features.reshape(-1) @ matrix).reshape(NUM_POSES, num_out) + self.bias[...]


class FloorLinear(nnx.Module):
    """The first layer: from what lies about the robot to features of each pose, out[g] = Σ W · (floor in pose g)."""

    def __init__(self, reach: int, far: int, channels: int, num_out: int, *, key: jax.Array):
        side, length = 2 * reach + 1, 2 * far + 1
        weight = Linear((side**2 + 2 * length) * channels, num_out, key=key).weight[...]
        near, down, across = jnp.split(weight, [side**2 * channels, (side**2 + length) * channels])
        self.near = nnx.Param(near.reshape(side, side, channels, num_out))
        self.down = nnx.Param(down.reshape(length, channels, num_out))
        self.across = nnx.Param(across.reshape(length, channels, num_out))

    def __call__(self, around: list[Float[Array, "cells"]]) -> Float[Array, "8 num_out"]:
        """Apply the layer to what `by_parity` makes of the cells near the robot and of the sums of rows and columns.

        It is the weights that are posed, once for a whole batch. Two arrays are orthogonal if their parities differ, so
        that each part of the floor meets only the like part of the weights: a quarter of the multiplications.
        """
        near, down, across = self.near[...], self.down[...], self.across[...]
        transposed = tuple(_exchanged(weight) for weight in (near.swapaxes(0, 1), across, down))
        weights = zip(by_parity(near, down, across), by_parity(*transposed), strict=True)
        parts = [
            part @ jnp.concatenate([weight.reshape(part.size, -1) for weight in pair], axis=1)
            for part, pair in zip(around, weights, strict=True)
        ]
        return _SIGNS @ jnp.stack(parts).reshape(NUM_POSES, -1)


def by_parity(
    near: Float[Array, "side side channels *rest"],
    down: Float[Array, "length channels *rest"],
    across: Float[Array, "length channels *rest"],
) -> list[Float[Array, "cells *rest"]]:
    """Split what lies about the robot by what two flips do to it: the parts that flipping the rows, and flipping the
    columns, leaves as they are (0) or negates (1), for (0, 0), (0, 1), (1, 0) and (1, 1).

    The last two channels are arrows, which flips negate: an arrow down by a flip of the rows. The split is orthonormal.
    """
    things, rest = slice(0, -2), near.shape[3:]
    arrow_down, arrow_across = slice(-2, -1), slice(-1, None)
    found = []
    for rows, columns in _PARITIES:
        parts = [
            _fold(_fold(near[:, :, things], 0, rows), 1, columns),
            _fold(_fold(near[:, :, arrow_down], 0, 1 - rows), 1, columns),
            _fold(_fold(near[:, :, arrow_across], 0, rows), 1, 1 - columns),
            # The sum of a row is the same whichever way its cells lie, but for the arrows across.
            *((_fold(down[:, arrow_across], 0, rows),) if columns else ()),
            *(() if columns else (_fold(down[:, things], 0, rows), _fold(down[:, arrow_down], 0, 1 - rows))),
            *((_fold(across[:, arrow_down], 0, columns),) if rows else ()),
            *(() if rows else (_fold(across[:, things], 0, columns), _fold(across[:, arrow_across], 0, 1 - columns))),
        ]
        found.append(jnp.concatenate([part.reshape(-1, *rest) for part in parts]))
    return found


def _fold(array: Array, axis: int, parity: int) -> Array:
    """Return the part of an array of odd length that flipping an axis leaves as it is (0) or negates (1)."""
    before, middle, after = jnp.split(array, [array.shape[axis] // 2, array.shape[axis] // 2 + 1], axis)
    before = jnp.flip(before, axis)
    if parity:
        return (after - before) * 0.5**0.5
    return jnp.concatenate([middle, (after + before) * 0.5**0.5], axis)


_PARITIES = [(0, 0), (0, 1), (1, 0), (1, 1)]


def _signs() -> np.ndarray:
    """Return `[pose, (parity, transposed or not)]`, the sign with which a part of a pose's weights is the part of the
    weights as they are, or transposed; 0 for the other of the two."""
    tag, signs = np.arange(9).reshape(3, 3), np.zeros((NUM_POSES, 4, 2), np.float32)
    for pose, (turn, mirrored) in enumerate(POSES):
        undone = np.rot90(tag[:, ::-1] if mirrored else tag, -turn)
        for transposed, start in enumerate((tag, tag.T)):
            for rows, columns in _PARITIES:
                if np.array_equal(undone, start[:: 1 - 2 * rows, :: 1 - 2 * columns]):
                    signs[pose, :, transposed] = [(-1) ** (rows * p + columns * q) for p, q in _PARITIES]
    return signs.reshape(NUM_POSES, -1)


_SIGNS = _signs()


def _exchanged(weight: Float[Array, "*cells channels num_out"]) -> Float[Array, "*cells channels num_out"]:
    """Exchange the weights of an arrow's two parts, down and across."""
    return jnp.concatenate([weight[..., :-2, :], weight[..., -1:, :], weight[..., -2:-1, :]], axis=-2)


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
