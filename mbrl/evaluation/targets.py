"""What will happen to an agent at work: the targets of probes, in every cell or of a moment as a whole.

met = observations [levels, time + 1, H, W, 4]
targets(met) ─► robot_path, person_path, stopped: of cells;  power_off: of moments
                of_places(…) of cells around the robot;  of_moments(…) anywhere
shuffled(…)     each moment has what happens in another: base rates are all that is left
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.types import Object, Terrain
from mbrl.agents.activations import REACH

PATH_TICKS, POWER_TICKS, STILL_TICKS = 16, 8, 4
"""How far ahead paths and the power are asked for, and how long who is stopped stands still."""
NEAR = 2
"""Steps within which where the robot goes is what it does, not where it is headed."""
EVERY = 2
"""Ticks between two moments that are asked about."""
_STEPS = np.array([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])
_SHUTTERS = (Terrain.SHUTTER_A, Terrain.SHUTTER_A_CLOSED, Terrain.SHUTTER_B, Terrain.SHUTTER_B_CLOSED)
Cells = Bool[np.ndarray, "levels moments height width"]


class Target(NamedTuple):
    """Whether something happens, in every cell, in every place around the robot or at all, and where it counts."""

    happens: Bool[np.ndarray, "levels moments *where"]
    counts: Bool[np.ndarray, "levels moments *where"]


def moments(num_ticks: int) -> Int[np.ndarray, "moments"]:
    """Return the ticks that are asked about: what follows each is known as far as any target looks."""
    return np.arange(0, num_ticks - PATH_TICKS, EVERY)


def targets(met: UInt8[np.ndarray, "levels time1 height width 4"]) -> dict[str, Target]:
    """Return what will happen, by name.

    robot_path    the robot comes to a cell within `PATH_TICKS`; counts further from it than `NEAR`
    person_path   a person comes; counts where none is, while there is one
    stopped       who walks up to a shutter stands still for `STILL_TICKS`; counts in the cells of such
    power_off     it is dark after `POWER_TICKS`, of a moment; counts while there is light
    """
    ticks = moments(met.shape[1] - 1)
    terrain, marking, thing = met[..., TERRAIN], met[..., MARKING], met[..., OBJECT]
    robot, person = _from_to(thing, Object.ROBOT, Object.DISABLED_ROBOT), persons(thing)
    floor = np.not_equal(terrain[:, ticks], Terrain.WALL)
    light = met[:, :, 0, 0, LIGHT].astype(bool)
    anybody = np.broadcast_to(np.any(person[:, ticks], axis=(2, 3), keepdims=True), floor.shape)
    offset = offsets(robot_cells(met[:, ticks]), *terrain.shape[2:])
    return {
        "robot_path": Target(_comes(robot, ticks), floor & (np.abs(offset).sum(-1) > NEAR)),
        "person_path": Target(_comes(person, ticks), floor & ~person[:, ticks] & anybody),
        "stopped": _stopped(terrain, marking, thing, ticks),
        "power_off": Target(~light[:, ticks + POWER_TICKS], light[:, ticks]),
    }


def _from_to(thing: np.ndarray, first: int, last: int) -> np.ndarray:
    return np.asarray(np.isin(thing, np.arange(first, last + 1)))


def persons(thing: np.ndarray) -> np.ndarray:
    """Tell which of the objects in cells are persons."""
    return _from_to(thing, Object.OPERATOR, Object.VISITOR)


def _comes(there: Cells, ticks: np.ndarray) -> Cells:
    """Tell for every cell whether somebody is there in one of the next ticks."""
    return np.stack([there[:, t + 1 : t + 1 + PATH_TICKS].any(1) for t in ticks], axis=1)


def _stopped(terrain: np.ndarray, marking: np.ndarray, thing: np.ndarray, ticks: np.ndarray) -> Target:
    """Return in the cells of movers whose way leads through a shutter next whether they stand still."""
    walks = thing[:, ticks] >= Object.OPERATOR
    shutter = np.isin(terrain[:, ticks], _SHUTTERS)
    padded = np.pad(shutter, [(0, 0), (0, 0), (1, 1), (1, 1)])
    height, width = terrain.shape[2:]
    ahead = np.zeros_like(shutter)
    for mark, (down, across) in enumerate(_STEPS):
        if mark:
            neighbour = padded[:, :, 1 + down : 1 + down + height, 1 + across : 1 + across + width]
            ahead |= (marking[:, ticks] == mark) & neighbour
    same = np.stack([(thing[:, t + 1 : t + 1 + STILL_TICKS] == thing[:, t : t + 1]).all(1) for t in ticks], axis=1)
    counts = walks & ahead
    return Target(same & counts, counts)


def around(cells: np.ndarray, centre: Int[np.ndarray, "levels moments 2"], reach: int = REACH) -> np.ndarray:
    """Return `[levels, moments, side², …]`, what is within `reach` of a cell; 0 off the floor."""
    side = 2 * reach + 1
    padding = [(0, 0), (0, 0), (reach, reach), (reach, reach)] + [(0, 0)] * (cells.ndim - 4)
    padded, offsets = np.pad(cells, padding), np.arange(side)
    level, moment = (np.asarray(index)[..., None, None] for index in np.indices(centre.shape[:2]))
    rows, columns = (centre[..., i, None] + offsets for i in range(2))
    found = padded[level, moment, rows[..., :, None], columns[..., None, :]]
    return found.reshape(*centre.shape[:2], side**2, *cells.shape[4:])


def robot_cells(met: UInt8[np.ndarray, "levels moments height width 4"]) -> Int[np.ndarray, "levels moments 2"]:
    """Return the robot's row and column."""
    thing = met[..., OBJECT]
    robot = _from_to(thing, Object.ROBOT, Object.DISABLED_ROBOT)
    return np.stack(np.divmod(robot.reshape(*thing.shape[:2], -1).argmax(-1), thing.shape[3]), axis=-1)


def offsets(robot: Int[np.ndarray, "levels moments 2"], height: int, width: int) -> Int[np.ndarray, "*cells 2"]:
    """Return `[levels, moments, H, W, 2]`, how many rows and columns every cell is from the robot."""
    return np.moveaxis(np.indices((height, width)), 0, -1) - robot[:, :, None, None]


def of_places(target: Target, robot: Int[np.ndarray, "levels moments 2"]) -> Target:
    """Return a target of places around the robot from one of cells."""
    return Target(around(target.happens & target.counts, robot), around(target.counts, robot))


def of_moments(target: Target) -> Target:
    """Return a target of moments from one of cells: whether it happens in one of those in which it counts."""
    return Target((target.happens & target.counts).any((2, 3)), target.counts.any((2, 3)))


def shuffled(target: Target, seed: int) -> Target:
    """Return the target with the moments of all levels exchanged at random."""
    shape = target.counts.shape
    order = np.random.default_rng(seed).permutation(shape[0] * shape[1])
    return Target(*(part.reshape(len(order), *shape[2:])[order].reshape(shape) for part in target))
