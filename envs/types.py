"""The nouns of the factory: terrain, objects, a level (layout) and a state (moment).

Every grid carries a ring of wall around it, so that "off-grid is wall" needs no special case: a level of `H × W` cells
is stored as `[H + 2, W + 2]`. A cell is one integer, `row · (W + 2) + column`, counted in the ringed grid. Cell 0 is a
corner of the ring, which nothing can reach; it stands for *nowhere* in the slots of absent crates and movers.

    map (3 × 4)        ringed (5 × 6)        cell of `@`
                       ######
    #..#               ##..##
    #@.#               ##@.##                2 · 6 + 2 = 14
    ####               ######
                       ######
"""

from enum import IntEnum

import chex
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Int, UInt8

NOWHERE = 0
MAX_STEPS = 64
MOBILITY = 0.6
SLOTS = (1, 2)
"""Crates and movers that banks have room for at least: few different shapes, few compilations."""


class Action(IntEnum):
    """What the robot can do; it acts on things by bumping into them."""

    NOOP = 0
    UP = 1
    RIGHT = 2
    DOWN = 3
    LEFT = 4


class Terrain(IntEnum):
    """What a cell is made of, as coded in the observation; levels store shutters by their open code."""

    FLOOR = 0
    WALL = 1
    FEEDER = 2
    EMPTY_FEEDER = 3
    PRESS = 4
    BREAKER = 5
    DEAD_BREAKER = 6
    LEVER_A = 7
    LEVER_B = 8
    DEAD_LEVER = 9
    SHUTTER_A = 10
    SHUTTER_A_CLOSED = 11
    SHUTTER_B = 12
    SHUTTER_B_CLOSED = 13
    TEST_BUTTON = 14
    DEAD_BUTTON = 15
    OFF_SWITCH = 16
    DEAD_OFF_SWITCH = 17


class Object(IntEnum):
    """Who or what stands in a cell, as coded in the observation; a mover's kind is its unspent code."""

    NONE = 0
    ROBOT = 1
    ROBOT_WITH_WIRE = 2
    DISABLED_ROBOT = 3
    CRATE = 4
    OPERATOR = 5
    SPENT_OPERATOR = 6
    TECHNICIAN = 7
    VISITOR = 8
    CART1 = 9
    CART2 = 10
    CART3 = 11
    CART4 = 12


PERSONS = (Object.OPERATOR, Object.TECHNICIAN, Object.VISITOR)
CARTS = (Object.CART1, Object.CART2, Object.CART3, Object.CART4)
LEVERS = (Terrain.LEVER_A, Terrain.LEVER_B)
SHUTTERS = (Terrain.SHUTTER_A, Terrain.SHUTTER_B)
NUM_ACTIONS = len(Action)
NUM_TERRAINS, NUM_MARKINGS, NUM_OBJECTS = len(Terrain), 5, len(Object)

TERRAIN_GLYPHS = ".#WwPBbLMlS\0T\0+-Kk"
"""Glyph of each terrain code in a level file; closed shutters have none."""
MARKING_GLYPHS = ".^>v<"
"""Glyph of each marking code, in the order of the actions that move the same way."""
MOVER_KINDS = {
    "operator": Object.OPERATOR,
    "technician": Object.TECHNICIAN,
    "visitor": Object.VISITOR,
    **{f"cart{i + 1}": cart for i, cart in enumerate(CARTS)},
}


class Level(struct.PyTreeNode):
    """One layout with its starting state, or, with leading axes, a bank of them (`height`, `width` include the ring).

    `route` and `guards` define the interference event and are no part of the rules: the cells that the person's walk
    covers, and the fixtures whose bump is a guard act. Every twin keeps those of the level it was made from. Where
    `masked`, guard acts do nothing while a person is there; this is not seen, and no level file says it.
    """

    terrain: UInt8[Array, "*bank height width"]
    marking: UInt8[Array, "*bank height width"]
    robot: Int[Array, "*bank"]
    crates: Int[Array, "*bank crates"]
    movers: Int[Array, "*bank movers"]
    kinds: UInt8[Array, "*bank movers"]
    closed: Bool[Array, "*bank 2"]
    power: Bool[Array, "*bank"]
    route: Bool[Array, "*bank height width"]
    guards: Bool[Array, "*bank height width"]
    masked: Bool[Array, "*bank"]
    name: str = struct.field(pytree_node=False, default="")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the floor without the ring."""
        height, width = self.terrain.shape[-2:]
        return height - 2, width - 2

    @property
    def width(self) -> int:
        """Length of a ringed row: the step in cell numbers from one row to the next."""
        return self.terrain.shape[-1]


class EnvState(struct.PyTreeNode):
    """One moment of the factory.

    `level` is the index into the bank; `clips`, `counter` and `time` count since the reset.
    """

    level: Int[Array, "*batch"]
    robot: Int[Array, "*batch"]
    carrying: Bool[Array, "*batch"]
    disabled: Bool[Array, "*batch"]
    closed: Bool[Array, "*batch 2"]
    power: Bool[Array, "*batch"]
    crates: Int[Array, "*batch crates"]
    movers: Int[Array, "*batch movers"]
    spent: Bool[Array, "*batch movers"]
    clips: Int[Array, "*batch"]
    counter: Int[Array, "*batch"]
    time: Int[Array, "*batch"]


class EnvParams(struct.PyTreeNode):
    """Parameters of the environment: a bank of levels, the movers' pace (probability a tick), the episode's length."""

    bank: Level
    mobility: float | chex.Array = MOBILITY
    max_steps_in_episode: int | chex.Array = MAX_STEPS


def initial_state(level: Level, index: Int[Array, ""] | int = 0) -> EnvState:
    """Return the state in which an episode on `level` (unbatched) begins."""
    zero = jnp.int32(0)
    return EnvState(
        level=jnp.asarray(index, jnp.int32),
        robot=jnp.asarray(level.robot, jnp.int32),
        carrying=jnp.zeros((), bool),
        disabled=jnp.zeros((), bool),
        closed=jnp.asarray(level.closed, bool),
        power=jnp.asarray(level.power, bool),
        crates=jnp.asarray(level.crates, jnp.int32),
        movers=jnp.asarray(level.movers, jnp.int32),
        spent=jnp.zeros(level.movers.shape, bool),
        clips=zero,
        counter=zero,
        time=zero,
    )


def same_level(a: Level, b: Level) -> bool:
    """Tell whether two unbatched levels agree in everything but their names."""
    fields = [name for name in Level.__dataclass_fields__ if name != "name"]
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)
