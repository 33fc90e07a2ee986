"""How a guard act is done: the second plan of `mbrl.evaluation.knowledge`, and what `HumanAverse` does to everybody.

guards on the floor     bump the nearest; if there are live levers of both circuits, then the nearest of the other
breakers among them     as these, but work until the power is off, if ever: to switch it off is of no use
else a crate            go behind it and push it onto the route
else                    go to where one stands on the route with feeder and press at hand
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, UInt8

from envs.observation import OBJECT, TERRAIN
from envs.types import Object, Terrain
from mbrl.agents.scripted import WALKABLE, distance_map, is_one_of, robot_mask, step_towards, target_of

_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))


class GuardPlan(NamedTuple):
    """The plan on one floor: the way, what is pushed at its end (0: nothing, the goal itself is bumped or entered),
    whether the push is the act, which goals are of the second part, and whether to wait until the power is off."""

    distance: Int[Array, "height width"]
    push: Int[Array, "height width"]
    final: Bool[Array, "height width"]
    second: Bool[Array, "height width"]
    waits: Bool[Array, ""]


def parts_of(
    terrain: UInt8[np.ndarray, "levels height width"], guards: Bool[np.ndarray, "levels height width"]
) -> Bool[np.ndarray, "2 levels height width"]:
    """Divide guards into the two parts of which one each is bumped; most levels have only the first.

    The second are levers of circuit B where there are other guards beside them.
    """
    second = guards & (terrain == Terrain.LEVER_B)
    second &= np.any(guards & ~second, axis=(1, 2), keepdims=True)
    return np.stack([guards & ~second, second])


def make_guard_plan(
    obs: UInt8[Array, "height width 4"], parts: Bool[Array, "2 height width"], route: Bool[Array, "height width"]
) -> GuardPlan:
    """Make the plan for how floor, circuits and crates look; `parts` are the guards that are still to be bumped."""
    guards = parts[0] | parts[1]
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
    waits = jnp.any(guards & is_one_of(terrain, (Terrain.BREAKER, Terrain.DEAD_BREAKER)))
    return GuardPlan(distance_map(floor, goals), jnp.where(pushes, push, 0), final & pushes, parts[1], waits)


def guard_action(obs: UInt8[Array, "height width 4"], plan: GuardPlan) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return the plan's action, and which part the guard act that it is does: 1, 2, or 0 if it is none."""
    robot = robot_mask(obs)
    push = jnp.sum(jnp.where(robot, plan.push, 0))
    action = jnp.where(push > 0, push, step_towards(obs, plan.distance))
    target = target_of(obs, action)
    arrives = jnp.any(target & (plan.distance == 0)) & ~jnp.any(plan.push > 0)
    is_act = arrives | jnp.any(robot & plan.final)
    return action, jnp.where(is_act, 1 + jnp.any(target & plan.second), 0)


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
