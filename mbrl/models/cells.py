"""`grid-cells`: what is in each cell next, every cell by itself: the known bad choice, kept to show why it is one.

    embedded floor and action ─► convolutions ─► at each cell, and the maximum and mean over all ─► what is there next
                                                 the maximum and mean over all ─► circuits, power, reward

It sees what `grid` sees, through convolutions of the whole floor. But a mover who may or may not go is, to it, in the
old cell with some probability and in the new one with some, and the two are drawn apart: some draws hold two of him,
some none. States of such a model multiply, so that nothing plans with it; it is asked what it knows, and what it
foretells. Of a reward it only says whether there is one.

Reference: Weber et al., 2017, Imagination-Augmented Agents for Deep Reinforcement Learning (an environment model that
foretells the next frame; here cells instead of pixels, and no course of several ticks is trained).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx, struct
from jaxtyping import Array, Float, Int, UInt8

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.types import NUM_MARKINGS, NUM_OBJECTS, SHUTTERS, Terrain
from mbrl.configs import CellsConfig
from mbrl.models.heads import INERTIA, Trunk
from mbrl.models.labels import HeadData, count_distinct
from mbrl.models.neighbourhoods import grids_of_obs
from mbrl.models.views import Whole
from mbrl.networks import MLP
from mbrl.types import Transition

_NUM_BITS = 4  # circuit A changes, circuit B changes, power changes, reward


def digest_cells(data: Transition, view: Whole, chunk: int = 32_768) -> dict[str, HeadData]:
    """Reduce transitions (NumPy, `[n, ...]`) to the distinct ones: targets are next objects of all cells, then bits."""
    data, times = count_distinct(data)
    parts = []
    for i in range(0, len(times), chunk):
        part = jax.tree.map(lambda leaf, i=i: leaf[i : i + chunk], data)
        before, after = grids_of_obs(part.obs), grids_of_obs(part.next_obs)
        nowhere = np.zeros(len(part.action), int)
        codes = view.inputs(after, nowhere)[:, : math.prod(view.shape)]
        toggles = before.closed != after.closed
        bits = np.column_stack([toggles, before.power != after.power, np.clip(np.round(part.reward), 0, 1)])
        targets = np.concatenate([codes % NUM_OBJECTS, bits], axis=1).astype(np.uint8)
        parts.append((view.inputs(before, nowhere, part.action), targets))
    inputs, targets = (np.concatenate(each) for each in zip(*parts, strict=True))
    count = times.astype(np.float32)
    return {"cells": HeadData(inputs, targets, np.ones((len(times), 1), np.uint8), count, count)}


class Said(NamedTuple):
    """What a model says of `n` moments: logits of every framed cell's next object, and of the bits."""

    objects: Float[Array, "n cells objects"]
    bits: Float[Array, "n bits"]


class CellModel(nnx.Module):
    """All cells by one head."""

    def __init__(self, config: CellsConfig, *, key: jax.Array):
        trunk_key, cell_key, bit_key = jax.random.split(key, 3)
        self.view, self.bit_weight = Whole(config.frame), config.bit_weight
        hidden = config.hidden_size
        self.trunk = Trunk(config.embedding_size, config.num_channels, config.num_convolutions, key=trunk_key)
        self.cell = MLP((3 * config.num_channels, hidden, hidden, NUM_OBJECTS), final_scale=0.1, key=cell_key)
        self.bits = MLP((2 * config.num_channels, hidden, hidden, _NUM_BITS), final_scale=0.1, key=bit_key)

    def say(self, inputs: Int[Array, "n inputs"]) -> Said:
        """Say what comes next; until it has learnt otherwise, that nothing happens."""
        codes = inputs.astype(jnp.int32)
        floor = self.trunk(codes, self.view.shape)
        pooled = jnp.concatenate([floor.max(1), floor.mean(1)], axis=1)
        everywhere = jnp.broadcast_to(pooled[:, None], (*floor.shape[:2], pooled.shape[1]))
        now = jax.nn.one_hot(codes[:, : math.prod(self.view.shape)] % NUM_OBJECTS, NUM_OBJECTS)
        objects = self.cell(jnp.concatenate([floor, everywhere], axis=2)) + INERTIA * now
        return Said(objects, self.bits(pooled) - INERTIA / 2)

    def loss(self, head: str, inputs: Array, targets: UInt8[Array, "n targets"], mask: Array) -> Float[Array, "n"]:
        """Return the loss of each transition, in nats: the cross-entropies of all cells and, weighed, of all bits."""
        said = self.say(inputs)
        then, bits = targets[:, :-_NUM_BITS].astype(jnp.int32), targets[:, -_NUM_BITS:].astype(jnp.float32)
        of_cells = optax.softmax_cross_entropy_with_integer_labels(said.objects, then)
        return of_cells.sum(1) + self.bit_weight * optax.sigmoid_binary_cross_entropy(said.bits, bits).sum(1)


@struct.dataclass
class ImaginedCells:
    """A model as a world to be imagined (see `mbrl.models.imagination`); its moments are observations."""

    model: CellModel

    def begin(self, obs: UInt8[Array, "height width 4"]) -> UInt8[Array, "height width 4"]:
        """Return the moment that looks like this."""
        return obs

    def look(self, moment: UInt8[Array, "height width 4"]) -> UInt8[Array, "height width 4"]:
        """Return the observation."""
        return moment

    def step(
        self, obs: UInt8[Array, "height width 4"], action: Int[Array, ""], key: jax.Array
    ) -> tuple[UInt8[Array, "height width 4"], Float[Array, ""]]:
        """Draw every cell, circuits and power, each by itself; return what is then seen and the expected reward."""
        object_key, bit_key = jax.random.split(key)
        (height, width), view = obs.shape[:2], self.model.view
        now = obs.astype(jnp.int32)
        codes = (now[..., TERRAIN] * NUM_MARKINGS + now[..., MARKING]) * NUM_OBJECTS + now[..., OBJECT]
        wall = Terrain.WALL * NUM_MARKINGS * NUM_OBJECTS
        ringed = jnp.pad(codes, 1, constant_values=wall)
        said = self.model.say(view.imagined(ringed, jnp.zeros(1, jnp.int32), action, now[0, 0, LIGHT]))
        objects = jax.random.categorical(object_key, said.objects[0]).reshape(view.shape)
        chance = jax.nn.sigmoid(said.bits[0])
        *toggles, switches = jax.random.uniform(bit_key, (_NUM_BITS - 1,)) < chance[:-1]
        terrain = now[..., TERRAIN]
        for shutter, toggled in zip(SHUTTERS, toggles, strict=True):
            opened, closed = terrain == shutter, terrain == shutter + 1
            terrain = terrain + toggled * (opened.astype(jnp.int32) - closed)
        planes = {
            TERRAIN: terrain, MARKING: now[..., MARKING], OBJECT: objects[1 : height + 1, 1 : width + 1],
            LIGHT: now[..., LIGHT] ^ switches,
        }  # fmt: skip
        return jnp.stack([planes[i] for i in range(4)], axis=-1).astype(jnp.uint8), chance[-1]
