"""What a head of an entity-wise model sees of the thing it speaks of: one row of small integers, an *input*.

    Near    the 3 × 3 cells about the thing, in the direction of the action, and circuits as global bits: `local`
    Whole   every cell of the floor, where the thing is, and the action: `grid`, which turns it likewise, and `dense`

A view says what is seen, a head (heads.py) what is made of it; what follows is told in the same words by all.
"""

from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt16

from envs.types import NUM_MARKINGS, NUM_OBJECTS, Terrain
from mbrl.models.neighbourhoods import Grids, make_inputs

WALL = np.array(Terrain.WALL * NUM_MARKINGS * NUM_OBJECTS)
"""The code of a bare cell of wall."""


class View(Protocol):
    """What is seen of a thing."""

    turns: bool
    """Whether it is seen, and its moves are told, in the direction of the action."""

    def inputs(
        self, grids: Grids, cells: np.ndarray, action: np.ndarray | int = 0, circuits: np.ndarray | int = 0
    ) -> UInt16[np.ndarray, "n inputs"]:
        """Return inputs of one thing of each moment: where it is, the action if it counts, circuits likewise."""
        ...


@dataclass(frozen=True)
class Near:
    """The nine cells about a thing (see `mbrl.models.neighbourhoods`)."""

    turns: bool = True

    def inputs(
        self, grids: Grids, cells: np.ndarray, action: np.ndarray | int = 0, circuits: np.ndarray | int = 0
    ) -> UInt16[np.ndarray, "n 13"]:
        """Return inputs of one thing of each moment."""
        return make_inputs(grids.around(cells, action), grids.power, action, circuits)


@dataclass(frozen=True)
class Whole:
    """The whole floor, in a frame of height and width: the codes of all cells, ringed, then place, action and power."""

    frame: tuple[int, int]
    turns: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the ringed frame."""
        return self.frame[0] + 2, self.frame[1] + 2

    def inputs(
        self, grids: Grids, cells: np.ndarray, action: np.ndarray | int = 0, circuits: np.ndarray | int = 0
    ) -> UInt16[np.ndarray, "n inputs"]:
        """Return inputs of one thing of each moment; circuits can be seen on the floor.

        Raises:
            ValueError: the floor is larger than the frame.
        """
        count, (height, width) = len(cells), self.shape
        terrain, marking, objects = grids.planes()
        rows = terrain.shape[1] // grids.width
        self._check(rows, grids.width)
        codes = (terrain.astype(np.uint16) * NUM_MARKINGS + marking) * NUM_OBJECTS + objects
        inputs = np.full((count, height * width + 3), WALL, np.uint16)
        framed = inputs[:, :-3].reshape(count, height, width)
        framed[:, :rows, : grids.width] = codes.reshape(count, rows, grids.width)
        row, column = np.divmod(cells, grids.width)
        inputs[:, -3] = row * width + column
        inputs[:, -2] = action
        inputs[:, -1] = grids.power
        return inputs

    def _check(self, rows: int, columns: int) -> None:
        if rows > self.shape[0] or columns > self.shape[1]:
            raise ValueError(f"frame: expected floors of at most {self.frame}, got {(rows - 2, columns - 2)}")

    def imagined(
        self, codes: Int[Array, "rows columns"], cells: Int[Array, "n"], action: Int[Array, ""], power: Array
    ) -> Int[Array, "n inputs"]:
        """Return inputs of several things of one moment (pure, under jit); `codes` are those of a ringed floor.

        Raises:
            ValueError: the floor is larger than the frame.
        """
        (rows, columns), (height, width) = codes.shape, self.shape
        self._check(rows, columns)
        framed = jnp.pad(codes, ((0, height - rows), (0, width - columns)), constant_values=WALL)
        row, column = jnp.divmod(cells, columns)
        floor = jnp.broadcast_to(framed.reshape(-1), (len(cells), height * width))
        rest = [row * width + column, jnp.full(len(cells), action), jnp.full(len(cells), power)]
        return jnp.concatenate([floor, jnp.stack(rest, axis=1)], axis=1).astype(jnp.int32)
