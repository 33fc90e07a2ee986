"""Beginnings of plans that any planner of the factory may try: walk up to a kind of fixture and bump into it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

from envs.observation import TERRAIN
from envs.types import Terrain
from mbrl.agents.scripted import FAR, WALKABLE, distance_map, robot_mask, steps_around

FIXTURES = tuple(kind for kind in Terrain if kind not in (Terrain.WALL, *WALKABLE))


def routes(obs: UInt8[Array, "height width 4"], horizon: int, after: int) -> Int[Array, "fixtures horizon"]:
    """Return for every kind of fixture the shortest way to the nearest one, as actions, and `after` from then on.

    Persons, carts and crates are taken to be nowhere; where there is no way, the plan is `after` alone.
    """
    width = obs.shape[1]
    start = jnp.argmax(robot_mask(obs))

    def route(kind):
        distance = distance_map(obs, obs[..., TERRAIN] == kind)

        def tick(cell, _):
            row, column = jnp.divmod(cell, width)
            around = steps_around(distance, row, column)
            action = jnp.argmin(around)
            arrived = (distance[row, column] == 0) | (jnp.min(around) >= FAR)
            new = cell + jnp.array([0, -width, 1, width, -1])[action]
            return jnp.where(arrived, cell, new), jnp.where(arrived, after, action)

        return jax.lax.scan(tick, start, length=horizon)[1]

    return jax.vmap(route)(jnp.array(FIXTURES, obs.dtype)).astype(jnp.int32)
