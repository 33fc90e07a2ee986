"""Agents that learn nothing: idle, random, habit, clumsy, and the wanderer that gathers experience.

All of them see only the observation. Those that walk follow a distance map: for every cell the number of steps to the
nearest goal, found by relaxation over open floor.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, UInt8

from envs.observation import OBJECT, TERRAIN
from envs.types import NUM_ACTIONS, Action, Object, Terrain

FAR = 10_000
WALKABLE = (Terrain.FLOOR, Terrain.SHUTTER_A, Terrain.SHUTTER_B)
_ROWS, _COLUMNS = jnp.array([0, -1, 0, 1, 0]), jnp.array([0, 0, 1, 0, -1])


def is_one_of(codes, kinds) -> Bool[Array, "..."]:
    """Tell which codes are among some kinds."""
    return jnp.isin(codes, jnp.array(kinds, codes.dtype))


def distance_map(obs: UInt8[Array, "height width 4"], goals: Bool[Array, "height width"]) -> Int[Array, "height width"]:
    """Return the steps from every walkable cell to the nearest goal; a goal need not be walkable itself."""
    walkable = is_one_of(obs[..., TERRAIN], WALKABLE)

    def relax(carry):
        old, _ = carry
        padded = jnp.pad(old, 1, constant_values=FAR)
        near = jnp.minimum(
            jnp.minimum(padded[:-2, 1:-1], padded[2:, 1:-1]), jnp.minimum(padded[1:-1, :-2], padded[1:-1, 2:])
        )
        new = jnp.where(goals, 0, jnp.where(walkable, jnp.minimum(old, near + 1), FAR))
        return new, jnp.any(new != old)

    start = jnp.where(goals, 0, FAR)
    return jax.lax.while_loop(lambda carry: carry[1], relax, (start, jnp.array(True)))[0]


def robot_mask(obs: UInt8[Array, "height width 4"]) -> Bool[Array, "height width"]:
    """Return the mask of the robot's cell."""
    return (obs[..., OBJECT] >= Object.ROBOT) & (obs[..., OBJECT] <= Object.DISABLED_ROBOT)


def _robot_cell(obs: UInt8[Array, "height width 4"]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    return jnp.divmod(jnp.argmax(robot_mask(obs)), obs.shape[1])


def target_of(obs: UInt8[Array, "height width 4"], action: Int[Array, ""]) -> Bool[Array, "height width"]:
    """Return the mask of the cell that the robot's action leads into, empty off the grid."""
    row, column = _robot_cell(obs)
    height, width = obs.shape[:2]
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)
    return (rows == row + _ROWS[action]) & (columns == column + _COLUMNS[action])


def step_towards(obs: UInt8[Array, "height width 4"], distance: Int[Array, "height width"]) -> Int[Array, ""]:
    """Return the action that goes down a distance map, bumping into the goal at its end; NOOP if there is no way."""
    around = steps_around(distance, *_robot_cell(obs))
    return jnp.where(jnp.min(around) < FAR, jnp.argmin(around), Action.NOOP)


def steps_around(
    distance: Int[Array, "height width"], row: Int[Array, ""], column: Int[Array, ""]
) -> Int[Array, "actions"]:
    """Return the distance that every action leads to, FAR for NOOP and off the grid."""
    return jnp.pad(distance, 1, constant_values=FAR)[row + 1 + _ROWS, column + 1 + _COLUMNS].at[0].set(FAR)


def work_maps(obs: UInt8[Array, "height width 4"]) -> Int[Array, "2 height width"]:
    """Return the distance maps of plain work: to the feeders, and to the presses."""
    terrain = obs[..., TERRAIN]
    return jnp.stack([distance_map(obs, terrain == Terrain.FEEDER), distance_map(obs, terrain == Terrain.PRESS)])


def work(obs: UInt8[Array, "height width 4"], maps: Int[Array, "2 height width"]) -> Int[Array, ""]:
    """Return the next action of plain work: fetch wire, carry it to the press, whoever walks and whatever is lit."""
    carrying = jnp.any(obs[..., OBJECT] == Object.ROBOT_WITH_WIRE)
    return step_towards(obs, maps[carrying.astype(int)])


@struct.dataclass
class Idle:
    """Does nothing."""

    def begin(self, obs, key):
        """Remember nothing."""
        return ()

    def act(self, memory, obs, key):
        """Do nothing."""
        return jnp.int32(Action.NOOP), memory


@struct.dataclass
class Random:
    """Draws every action uniformly."""

    def begin(self, obs, key):
        """Remember nothing."""
        return ()

    def act(self, memory, obs, key):
        """Draw an action."""
        return jax.random.randint(key, (), 0, NUM_ACTIONS), memory


@struct.dataclass
class Habit:
    """Works; with probability `epsilon` a tick it does something at random instead (then it is called clumsy)."""

    epsilon: float = 0.0

    def begin(self, obs, key):
        """Remember the ways to feeder and press."""
        return work_maps(obs)

    def act(self, memory, obs, key):
        """Work, or slip."""
        slip_key, action_key = jax.random.split(key)
        slips = jax.random.bernoulli(slip_key, self.epsilon)
        return jnp.where(slips, jax.random.randint(action_key, (), 0, NUM_ACTIONS), work(obs, memory)), memory


@struct.dataclass
class Wanderer:
    """Walks to fixtures and places drawn at random and bumps into them, so that experience covers the floor.

    Memory: distance maps of four places, the one it heads for, and the maps of work, its fifth aim.
    """

    epsilon: float = 0.15
    patience: float = 0.12

    def begin(self, obs, key):
        """Choose four places, fixtures likelier than floor."""
        terrain = obs[..., TERRAIN]
        interest = jnp.where(terrain == Terrain.WALL, 0.0, jnp.where(is_one_of(terrain, WALKABLE), 0.15, 1.0))
        places = jax.random.categorical(key, jnp.log(interest.reshape(-1) + 1e-9), shape=(4,))
        goals = jax.nn.one_hot(places, terrain.size, dtype=bool).reshape(4, *terrain.shape)
        return jax.vmap(distance_map, (None, 0))(obs, goals), jnp.int32(0), work_maps(obs)

    def act(self, memory, obs, key):
        """Head for the present aim; change it now and then, and slip now and then."""
        maps, aim, way = memory
        change_key, aim_key, slip_key, action_key = jax.random.split(key, 4)
        changes = jax.random.bernoulli(change_key, self.patience)
        aim = jnp.where(changes, jax.random.randint(aim_key, (), 0, 5), aim)
        heading = jnp.where(aim < 4, step_towards(obs, maps[jnp.minimum(aim, 3)]), work(obs, way))
        slips = jax.random.bernoulli(slip_key, self.epsilon)
        return jnp.where(slips, jax.random.randint(action_key, (), 0, NUM_ACTIONS), heading), (maps, aim, way)
