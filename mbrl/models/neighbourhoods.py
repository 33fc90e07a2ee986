"""What the entity-wise model looks at: the 3 × 3 cells around a thing, and a few global bits.

An input is thirteen small integers: nine cells, row by row, each one code for terrain, marking and object; whether the
robot acts (robot and crates see their cells in the direction of its action); for each circuit, whether it has a
shutter, whether it is closed and what kinds of objects stand on it; power. There is no absolute position in it. Grids
are ringed and flattened: `[n, cells]`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS, SHUTTERS, Level, Object, Terrain

NUM_INPUTS = 13
_CIRCUIT_BITS = 1 + NUM_OBJECTS
CELL_FEATURES = NUM_TERRAINS + NUM_MARKINGS + NUM_OBJECTS
GLOBAL_FEATURES = 1 + 2 * _CIRCUIT_BITS + 1


def turned(side: int) -> np.ndarray:
    """Return the orders `[4, cells]` of a square's cells that bring up, right, down or left to the top."""
    cells = np.arange(side**2).reshape(side, side)
    return np.stack([np.rot90(cells, turns).reshape(-1) for turns in range(4)])


TURNED = turned(3)
"""Of the nine cells."""


RELATIVE = np.array(
    [[0, *((direction - 1 - ahead) % 4 + 1 for direction in range(1, 5))] for ahead in range(4)], np.uint16
)
"""What becomes of each direction, 0 for none, that is seen in direction `ahead` + 1."""


def to_relative(direction: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """Turn directions (0 none, 1 up, 2 right, 3 down, 4 left) so that direction `ahead` + 1 becomes 1."""
    return RELATIVE[ahead, direction]


def to_absolute(direction: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Undo `to_relative` for what was seen in the direction of an action."""
    return np.where(direction == 0, 0, (direction - 1 + np.maximum(action - 1, 0)) % 4 + 1)


@dataclass(frozen=True)
class Grids:
    """`n` moments of the floor as the agent sees it, on `f` floors.

    `terrain`, with open shutters, and `marking` are those of the floors, `[f, cells]`; of each moment there is its
    `floor` `[n]`, which circuits are `closed` `[n, 2]`, what stands where, `objects` `[n, cells]`, and the power `[n]`.
    """

    terrain: np.ndarray
    marking: np.ndarray
    floor: np.ndarray
    closed: np.ndarray
    objects: np.ndarray
    power: np.ndarray
    width: int

    def take(self, index: np.ndarray) -> "Grids":
        """Return a selection of the moments."""
        names = ("floor", "closed", "objects", "power")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def planes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return terrain, closed shutters as such, marking and objects `[n, cells]` of the moments."""
        return self._shut(self.terrain[self.floor]), self.marking[self.floor], self.objects

    def _shut(self, terrain: np.ndarray) -> np.ndarray:
        """Close the shutters among cells `[n, k]` of the moments, where they are closed."""
        for circuit, shutter in enumerate(SHUTTERS):
            terrain = terrain + ((terrain == shutter) & self.closed[:, circuit, None])
        return terrain

    def around(self, cells: np.ndarray, action: np.ndarray | int = 0) -> np.ndarray:
        """Return the codes `[n, 9]` of the cells about one cell of each moment, seen in the direction of an action.

        What lies in that direction comes on top; NOOP leaves the picture as it is.
        """
        steps = np.array([row * self.width + column for row in (-1, 0, 1) for column in (-1, 0, 1)])
        ahead = np.maximum(np.asarray(action) - 1, 0)
        last = self.objects.shape[1] - 1
        near = np.clip(np.arange(last + 1)[:, None, None] + steps[TURNED], 0, last)[cells, ahead]
        terrain = self._shut(self.terrain[self.floor[:, None], near]).astype(np.uint16)
        marking = to_relative(self.marking[self.floor[:, None], near], ahead[..., None])
        return (terrain * NUM_MARKINGS + marking) * NUM_OBJECTS + np.take_along_axis(self.objects, near, axis=1)

    def circuits(self) -> np.ndarray:
        """Return for both circuits `[n, 2]` bits: present, closed, then one for each kind of object on a shutter."""
        found = []
        for circuit, shutter in enumerate(SHUTTERS):
            is_shutter, closed = self.terrain == shutter, self.closed[:, circuit].astype(np.uint16)
            present = is_shutter.any(1)[self.floor]
            # The shutters of a floor stand first, those of others after them lie on cell 0, where nothing stands.
            cells = np.argsort(~is_shutter, axis=1, kind="stable")[:, : is_shutter.sum(1).max(initial=0)]
            cells = np.where(np.take_along_axis(is_shutter, cells, axis=1), cells, 0)
            on = np.take_along_axis(self.objects, cells[self.floor], axis=1).astype(np.uint16)
            kinds = np.bitwise_or.reduce(np.where(on != Object.NONE, np.uint16(2) << on, 0), axis=1, dtype=np.uint16)
            found.append(present + 2 * (present & (closed == 1)) + np.where(closed == 1, 0, kinds))
        return np.stack(found, axis=1).astype(np.uint16)


def grids_of_obs(obs: np.ndarray) -> Grids:
    """Lay out observations `uint8[n, H, W, 4]` as grids, each on a floor of its own."""
    count, height, width, _ = obs.shape
    ringed = np.zeros((count, height + 2, width + 2, 3), np.uint8)
    ringed[..., 0] = Terrain.WALL
    ringed[:, 1:-1, 1:-1] = obs[..., :3]
    terrain, marking, objects = (np.ascontiguousarray(ringed[..., i]).reshape(count, -1) for i in range(3))
    closed = np.stack([(terrain == shutter + 1).any(1) for shutter in SHUTTERS], axis=1)
    for shutter in SHUTTERS:
        terrain -= terrain == shutter + 1
    return Grids(terrain, marking, np.arange(count), closed, objects, obs[:, 0, 0, 3], width + 2)


def grids_of_rows(bank: Level, rows: np.ndarray, index: np.ndarray) -> Grids:
    """Lay out packed states (see `envs.packing.pack`) of the levels of the given indices as grids."""
    count, num_crates, num_movers = len(rows), bank.crates.shape[-1], bank.movers.shape[-1]
    terrain, marking = (part.reshape(len(bank.robot), -1) for part in (bank.terrain, bank.marking))
    objects = np.zeros((count, terrain.shape[1]), np.uint8)
    moment = np.arange(count)
    for crate in range(num_crates):
        objects[moment, rows[:, 6 + crate]] = Object.CRATE
    for mover in range(num_movers):
        cell, spent = rows[:, 6 + num_crates + mover], rows[:, 6 + num_crates + num_movers + mover]
        objects[moment, cell] = np.where(cell > 0, bank.kinds[index, mover] + spent, objects[moment, cell])
    objects[:, 0] = Object.NONE
    objects[moment, rows[:, 0]] = robot_code(rows)
    power = rows[:, 5].astype(np.uint8)
    return Grids(terrain, marking, index, rows[:, 3:5] == 1, objects, power, bank.terrain.shape[-1])


def observations_of(bank: Level, rows: np.ndarray, index: np.ndarray) -> UInt8[np.ndarray, "n height width 4"]:
    """Return what packed states of the levels of the given indices look like."""
    (height, width), grids = bank.shape, grids_of_rows(bank, rows, index)
    light = np.broadcast_to(grids.power[:, None], grids.objects.shape)
    obs = np.stack([*grids.planes(), light], axis=-1).astype(np.uint8)
    return obs.reshape(len(obs), height + 2, width + 2, 4)[:, 1:-1, 1:-1]


def robot_code(rows: np.ndarray) -> np.ndarray:
    """Return the object code of the robot in packed states."""
    return np.where(rows[:, 2] == 1, Object.DISABLED_ROBOT, Object.ROBOT + rows[:, 1]).astype(np.uint8)


def move_object(grids: Grids, old: np.ndarray, new: np.ndarray, code: np.ndarray) -> Grids:
    """Return the grids with one object of each moment taken from cell `old` to cell `new`, with a new code."""
    objects, moment = grids.objects.copy(), np.arange(len(old))
    objects[moment, old] = Object.NONE
    objects[moment, new] = code
    return replace(grids, objects=objects)


def make_inputs(
    near: np.ndarray, power: np.ndarray, action: np.ndarray | int = 0, circuits: np.ndarray | int = 0
) -> np.ndarray:
    """Assemble inputs `uint16[n, 13]` from codes seen in the direction of the action."""
    inputs = np.zeros((len(near), NUM_INPUTS), np.uint16)
    inputs[:, :9] = near
    inputs[:, 9] = np.asarray(action) > 0
    inputs[:, 10:12] = circuits
    inputs[:, 12] = power
    return inputs


def cell_features(codes: Array) -> Float[Array, "*n cell"]:
    """Write codes of cells as zeros and ones (pure, under jit)."""
    parts = [
        jax.nn.one_hot(codes // (NUM_MARKINGS * NUM_OBJECTS), NUM_TERRAINS),
        jax.nn.one_hot(codes // NUM_OBJECTS % NUM_MARKINGS, NUM_MARKINGS),
        jax.nn.one_hot(codes % NUM_OBJECTS, NUM_OBJECTS),
    ]
    return jnp.concatenate(parts, axis=-1)


def features(inputs: Array) -> tuple[Float[Array, "*n 9 cell"], Float[Array, "*n rest"]]:
    """Write inputs `[..., 13]` as zeros and ones: of the nine cells, and of what is global (pure, under jit)."""
    codes = inputs.astype(jnp.int32)
    bits = (codes[..., 10:12, None] >> jnp.arange(_CIRCUIT_BITS)) & 1
    circuits = bits.reshape(*codes.shape[:-1], 2 * _CIRCUIT_BITS).astype(jnp.float32)
    acts, power = codes[..., 9:10], codes[..., 12:]
    return cell_features(codes[..., :9]), jnp.concatenate([acts, circuits, power], axis=-1)


@lru_cache
def _mix(columns: int) -> np.ndarray:
    factors = np.random.default_rng(0x5EED).integers(1, 2**63, columns, dtype=np.uint64)
    return factors * np.uint64(2) + np.uint64(1)


def input_keys(inputs: np.ndarray) -> np.ndarray:
    """Return a 64-bit key of each input, by which equal inputs are found."""
    key = np.zeros(len(inputs), np.uint64)
    for column, factor in zip(inputs.T, _mix(inputs.shape[1]), strict=True):
        key ^= column * factor
        key *= np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(31)
    return key
