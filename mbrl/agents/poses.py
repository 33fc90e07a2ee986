"""Layers that are alike in the eight poses of a floor.

    pose: the floor turned by 0 to 3 quarters, then mirrored or not
    FloorLinear: out[g] = Σ W · (floor in pose g)          PoseLinear: out[g] = Σₕ in[h] W[relation of g and h]

Weights are shared between the poses, so that a layer is an ordinary matrix whose blocks are copies of one, turned. For
the floor, whose matrix is large, three quarters of it are never multiplied: what a flip of the rows leaves as it is or
negates, and a flip of the columns, are four parts of a floor, of which each meets only the like part of the weights.
That is the Fourier transform over the group of the two flips.

References: Cohen and Welling, 2016, Group Equivariant Convolutional Networks; Cohen and Welling, 2017, Steerable CNNs
(equivariant maps, block by block of irreducible representations).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from mbrl.networks import Linear

POSES = [(turn, mirrored) for turn in range(4) for mirrored in (False, True)]
"""What is ahead, up, right, down or left; whether left and right are exchanged."""
NUM_POSES = len(POSES)


def _posed(grid: np.ndarray, turn: int, mirrored: bool) -> np.ndarray:
    """Turn a grid so that the direction of number `turn` comes to the top, then mirror it if asked to."""
    grid = np.rot90(grid, turn)
    return grid[:, ::-1] if mirrored else grid


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
        ]
        # The sum of a row is the same whichever way its cells lie, but for the arrows across; so is that of a column.
        if columns:
            parts.append(_fold(down[:, arrow_across], 0, rows))
        else:
            parts += [_fold(down[:, things], 0, rows), _fold(down[:, arrow_down], 0, 1 - rows)]
        if rows:
            parts.append(_fold(across[:, arrow_down], 0, columns))
        else:
            parts += [_fold(across[:, things], 0, columns), _fold(across[:, arrow_across], 0, 1 - columns)]
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
