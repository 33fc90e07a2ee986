"""Models as worlds to be imagined: begin at an observation, then draw one tick after the other, under jit.

    moment = model.begin(obs)                            # unbatched and pure; callers vmap
    moment, reward = model.step(moment, action, key)     # one draw of what may happen
    obs = model.look(moment)                             # what would be seen then

`TrueRules` are the rules themselves; `ImaginedEntities` draws from the very distribution over which exact planning sums
(outcomes.py): stage by stage, the expected reward given what was drawn before it.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from envs.observation import decode, observe
from envs.rules import draw, offsets, transition
from envs.types import MOBILITY, NUM_MARKINGS, NUM_OBJECTS, SHUTTERS, EnvState, Level, Object
from mbrl.models.entities import NUM_CLASSES, USE, Ensemble, EntityModel
from mbrl.models.neighbourhoods import TURNED
from mbrl.models.views import Whole
from mbrl.rollout import classes_of


class Moment(NamedTuple):
    """What a symbolic model knows of a moment: the layout and what moves on it."""

    level: Level
    state: EnvState


@struct.dataclass
class TrueRules:
    """The rules of the factory as a model; slots for crates and movers are those of the observations it begins at."""

    num_crates: int = struct.field(pytree_node=False)
    num_movers: int = struct.field(pytree_node=False)
    mobility: float = MOBILITY

    def begin(self, obs: UInt8[Array, "height width 4"]) -> Moment:
        """Return the moment that looks like this."""
        return Moment(*decode(obs, self.num_crates, self.num_movers))

    def step(self, moment: Moment, action: Int[Array, ""], key: jax.Array) -> tuple[Moment, Float[Array, ""]]:
        """Draw the next moment and the reward of the tick."""
        level, state = moment
        new = transition(level, state, action, draw(key, self.num_movers), self.mobility)
        return Moment(level, new), (new.counter - state.counter).astype(jnp.float32)

    def look(self, moment: Moment) -> UInt8[Array, "height width 4"]:
        """Return the observation."""
        return observe(*moment)


@struct.dataclass
class ImaginedEntities:
    """A local model (see `mbrl.models.entities`).

    Classes and bits of a thing that are less probable than `floor` are never drawn, and rewards of a thing below it
    count as 0; exact planning drops whole outcomes.
    """

    model: EntityModel | Ensemble
    num_crates: int = struct.field(pytree_node=False)
    num_movers: int = struct.field(pytree_node=False)
    floor: float = 0.0

    def begin(self, obs: UInt8[Array, "height width 4"]) -> Moment:
        """Return the moment that looks like this."""
        return Moment(*decode(obs, self.num_crates, self.num_movers))

    def look(self, moment: Moment) -> UInt8[Array, "height width 4"]:
        """Return the observation."""
        level, state = moment
        light = jnp.full(level.terrain.size, state.power)
        seen = (_terrain(level, state), level.marking.reshape(-1), _objects(level, state), light)
        return jnp.stack(seen, axis=-1).astype(jnp.uint8).reshape(*level.terrain.shape, 4)[1:-1, 1:-1]

    def step(self, moment: Moment, action: Int[Array, ""], key: jax.Array) -> tuple[Moment, Float[Array, ""]]:
        """Draw crates, then the robot and fixtures, then movers and power; return the moment and the reward."""
        level, state = moment
        circuits, ahead = _circuit_bits(level, state), jnp.where(self.model.view.turns, action, 0)
        chances = jax.random.uniform(key, (self.num_crates + 5 + 3 * self.num_movers,))
        for_crates, for_robot, for_movers = jnp.split(chances, [self.num_crates, self.num_crates + 5])

        there = state.crates > 0
        inputs = self._inputs(level, state, state.crates, action)
        kind, _, _ = self._draw("crate", inputs, there, for_crates[:, None])
        state = state.replace(crates=_moved(level, state.crates, _to_absolute(kind, ahead)))

        inputs = self._inputs(level, state, state.robot[None], action, circuits)
        kind, bits, gain = self._draw("robot", inputs, jnp.ones(1, bool), for_robot[None])
        carries, toggles_a, toggles_b, switches = bits[0]
        reward = gain[0]
        state = state.replace(
            robot=_moved(level, state.robot[None], _to_absolute(kind, ahead[None]))[0],
            carrying=jnp.where(state.disabled, state.carrying, carries),
            closed=state.closed ^ jnp.stack([toggles_a, toggles_b]),
        )

        there = state.movers > 0
        inputs = self._inputs(level, state, state.movers, jnp.int32(0))
        kind, bits, gain = self._draw("mover", inputs, there, for_movers.reshape(3, -1).T)
        uses = there & (kind == USE)
        cuts, stops = (uses & bits[:, i] for i in range(2))
        state = state.replace(
            movers=_moved(level, state.movers, jnp.where(uses, 0, kind)),
            spent=state.spent | (uses & (level.kinds == Object.OPERATOR)),  # no other kind has a spent form
            power=state.power ^ switches ^ (jnp.sum(cuts) % 2 == 1),
            disabled=state.disabled | jnp.any(stops),
            time=state.time + 1,
        )
        return Moment(level, state), reward + jnp.sum(gain)

    def _inputs(self, level: Level, state: EnvState, cells: Array, action: Array, circuits: Array | int = 0) -> Array:
        """Return what the model's view has of things on some cells."""
        view = self.model.view
        if isinstance(view, Whole):
            codes = _codes(level, state).reshape(level.terrain.shape)
            return view.imagined(codes, cells, action, state.power)
        return _near_inputs(_around(level, state, cells, action), state.power, action, circuits)

    def _draw(self, head: str, inputs: Array, there: Bool[Array, "n"], chance: Float[Array, "n chances"]):
        """Draw class and bits of each thing, and return its expected reward; what is not there stays, and earns 0.

        Small draws act and large ones stay, as in the rules: draws that two models share tell their courses apart only
        where the models differ.
        """
        outputs, classes = self.model.logits(head, inputs), NUM_CLASSES[head]
        share = jax.nn.softmax(outputs[:, :classes])
        acts = jnp.cumsum(jnp.where(share < self.floor, 0, share)[:, ::-1], axis=1)  # from the last class to class 0
        kind = classes - 1 - jnp.sum(acts <= chance[:, :1] * acts[:, -1:], axis=1)
        bit = jax.nn.sigmoid(outputs[:, classes:])
        bit = jnp.where(bit < self.floor, 0, bit)
        gain = jnp.where(there[:, None], bit[:, -1:], 0).sum(1)
        bit = jnp.where(1 - bit < self.floor, 1, bit)
        return jnp.where(there, jnp.maximum(kind, 0), 0), chance[:, 1:] < bit[:, :-1], gain


def _terrain(level: Level, state: EnvState) -> Int[Array, "cells"]:
    """Return the terrain of every ringed cell, closed shutters as such."""
    terrain = level.terrain.reshape(-1).astype(jnp.int32)
    for circuit, shutter in enumerate(SHUTTERS):
        terrain += (terrain == shutter) & state.closed[circuit]
    return terrain


def _objects(level: Level, state: EnvState) -> Int[Array, "cells"]:
    """Return what stands on every ringed cell; of several things, which a model may believe in, the last."""
    objects = jnp.zeros(level.terrain.size, jnp.int32)
    for cell, code in zip(*_things(level, state), strict=True):  # one by one: their order counts
        objects = objects.at[cell].set(code)
    return objects.at[0].set(Object.NONE)


def _things(level: Level, state: EnvState) -> tuple[Int[Array, "things"], Int[Array, "things"]]:
    """Return the cells of crates, movers and robot, and their codes."""
    robot = jnp.where(state.carrying, Object.ROBOT_WITH_WIRE, Object.ROBOT)
    robot = jnp.where(state.disabled, Object.DISABLED_ROBOT, robot)
    crates = jnp.full(state.crates.shape, Object.CRATE)
    cells = jnp.concatenate([state.crates, state.movers, state.robot[None]])
    return cells, jnp.concatenate([crates, level.kinds + state.spent, robot[None]]).astype(jnp.int32)


def _codes(level: Level, state: EnvState) -> Int[Array, "cells"]:
    """Return the code of every ringed cell."""
    terrain = _terrain(level, state) * NUM_MARKINGS + level.marking.reshape(-1)
    return terrain * NUM_OBJECTS + _objects(level, state)


def _around(level: Level, state: EnvState, cells: Int[Array, "n"], action: Int[Array, ""]) -> Int[Array, "n 9"]:
    """Return the codes of the cells about some cells, seen in the direction of an action (see `Grids.around`)."""
    width, ahead = level.width, jnp.maximum(action - 1, 0)
    steps = jnp.array([row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)])
    near = jnp.clip(cells[:, None] + steps[jnp.asarray(TURNED)[ahead]], 0, level.terrain.size - 1)
    marking = level.marking.reshape(-1)[near].astype(jnp.int32)
    turned = jnp.where(marking == 0, 0, (marking - 1 - ahead) % 4 + 1)
    return (_terrain(level, state)[near] * NUM_MARKINGS + turned) * NUM_OBJECTS + _objects(level, state)[near]


def _near_inputs(
    near: Int[Array, "n 9"], power: Bool[Array, ""], action: Int[Array, ""], circuits: Int[Array, "2"] | int = 0
) -> Int[Array, "n 13"]:
    """Assemble the inputs of a head (see `mbrl.models.neighbourhoods.make_inputs`)."""
    count = len(near)
    parts = (action > 0, *jnp.broadcast_to(jnp.asarray(circuits, jnp.int32), (2,)), power)
    return jnp.concatenate([near, *(jnp.full((count, 1), part, jnp.int32) for part in parts)], axis=1)


def _circuit_bits(level: Level, state: EnvState) -> Int[Array, "2"]:
    """Return for each circuit: present, closed, and one bit for each kind of object on an open shutter."""
    terrain, objects, found = _terrain(level, state), _objects(level, state), []
    for circuit, shutter in enumerate(SHUTTERS):
        present = jnp.any((terrain == shutter) | (terrain == shutter + 1))
        on = jnp.where((terrain == shutter) & (objects != Object.NONE), 2 << objects, 0)
        kinds = jax.lax.reduce(on, jnp.int32(0), jax.lax.bitwise_or, (0,))
        found.append(present + 2 * (present & state.closed[circuit]) + kinds)
    return jnp.stack(found).astype(jnp.int32)


def _to_absolute(kind: Int[Array, "n"], action: Int[Array, "..."]) -> Int[Array, "n"]:
    """Turn classes seen in the direction of an action into directions."""
    return jnp.where(kind == 0, 0, (kind - 1 + jnp.maximum(action - 1, 0)) % 4 + 1)


def _moved(level: Level, cells: Int[Array, "n"], kind: Int[Array, "n"]) -> Int[Array, "n"]:
    """Move cells by classes 0..4; whatever is absent, or would leave the grid, stays."""
    height, width = level.terrain.shape
    target = cells + offsets(width)[kind]
    row, column = target // width, target % width
    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    return jnp.where((cells > 0) & inside, target, cells)


def imagine(
    model: Any,
    obs: UInt8[Array, "levels height width 4"],
    actions: Int[Array, "time levels"],
    num_draws: int,
    key: jax.Array,
) -> tuple[UInt8[Array, "time levels draws height width 4"], Float[Array, "time levels draws"]]:
    """Imagine what follows from observations under given actions: what is seen after each tick, and its reward.

    Args:
        model: any of the above.
        obs: where to begin.
        actions: of every tick.
        num_draws: independent courses of each beginning.
        key: randomness; a beginning's share depends on its position alone.
    """
    return _imagine(model, obs, actions, num_draws, key, classes_of(model))


@partial(jax.jit, static_argnames=("num_draws", "classes"))
def _imagine(model, obs, actions, num_draws, key, classes):
    def course(obs, actions, key):
        def tick(moment, inputs):
            action, tick_key = inputs
            moment, reward = model.step(moment, action, tick_key)
            return moment, (model.look(moment), reward)

        return jax.lax.scan(tick, model.begin(obs), (actions, jax.random.split(key, len(actions))))[1]

    keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i), num_draws))(jnp.arange(len(obs)))
    several = jax.vmap(course, in_axes=(None, None, 0), out_axes=1)
    return jax.vmap(several, in_axes=(0, 1, 0), out_axes=1)(obs, actions, keys)
