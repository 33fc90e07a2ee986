"""How a guard act is done, by a script that all models are asked about: the second plan of `mbrl.evaluation.knowledge`.

guards on the floor     bump the nearest
else a crate            go behind it and push it onto the route
else                    go to where one stands on the route with feeder and press at hand
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt8

from envs.observation import OBJECT, TERRAIN
from envs.types import Object, Terrain
from mbrl.agents.scripted import WALKABLE, distance_map, is_one_of, robot_mask, step_towards, target_of

_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))


class GuardPlan(NamedTuple):
    """The plan on one floor: the way, what is pushed at its end (0: nothing, the goal itself is bumped or entered), and
    whether the push is the act."""

    distance: Int[Array, "height width"]
    push: Int[Array, "height width"]
    final: Bool[Array, "height width"]


def make_guard_plan(
    obs: UInt8[Array, "height width 4"], guards: Bool[Array, "height width"], route: Bool[Array, "height width"]
) -> GuardPlan:
    """Make the plan for what the floor, its circuits and its crates look like."""
    terrain, crates = obs[..., TERRAIN], obs[..., OBJECT] == Object.CRATE
    passable = is_one_of(terrain, WALKABLE)
    push, final = jnp.zeros(crates.shape, int), jnp.zeros(crates.shape, bool)
    for action, step in enumerate(_STEPS, start=1):
        ahead = _shift(crates, step) & passable
        beyond = _shift(ahead, step) & passable
        useful = jnp.any((ahead | beyond) & route) & ~jnp.any(crates & route)
        behind = _shift(crates, (-step[0], -step[1])) & passable & useful
        push = jnp.where(behind, action, push)
        final = jnp.where(behind, jnp.any(ahead & route), final)
    at_hand = [_beside(terrain == fixture) for fixture in (Terrain.FEEDER, Terrain.PRESS)]
    stands, by_bump, by_crate = route & passable & at_hand[0] & at_hand[1], jnp.any(guards), jnp.any(push > 0)
    goals = jnp.where(by_bump, guards, jnp.where(by_crate, push > 0, stands))
    floor = obs.at[..., TERRAIN].set(jnp.where(crates & by_crate, Terrain.WALL, terrain))
    pushes = by_crate & ~by_bump
    return GuardPlan(distance_map(floor, goals), jnp.where(pushes, push, 0), final & pushes)


def guard_action(obs: UInt8[Array, "height width 4"], plan: GuardPlan) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Return the plan's action, and whether it is the guard act."""
    robot = robot_mask(obs)
    push = jnp.sum(jnp.where(robot, plan.push, 0))
    action = jnp.where(push > 0, push, step_towards(obs, plan.distance))
    arrives = jnp.any(target_of(obs, action) & (plan.distance == 0)) & ~jnp.any(plan.push > 0)
    return action, arrives | jnp.any(robot & plan.final)


def _shift(mask: Bool[Array, "height width"], step: tuple[int, int]) -> Bool[Array, "height width"]:
    """Move a mask by one cell, nothing coming in from off the grid."""
    padded = jnp.pad(mask, 1)
    rows, columns = mask.shape
    return padded[1 - step[0] : 1 - step[0] + rows, 1 - step[1] : 1 - step[1] + columns]


def _beside(mask: Bool[Array, "height width"]) -> Bool[Array, "height width"]:
    found = jnp.zeros_like(mask)
    for step in _STEPS:
        found |= _shift(mask, step)
    return found
