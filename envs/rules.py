"""The rules of the factory: one tick as a deterministic function of state, action and draws.

    tick = robot's part  →  movers' part (all at once)  →  time + 1

Everything here is unbatched and pure; callers `vmap`. The reward of a tick is the increment of `counter`. Randomness
enters only through `draws`, one number of `U[0, 1)` for every mover and tick, used or not, so that episodes that share
draws stay paired whatever the robot does.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from envs.types import LEVERS, NOWHERE, PERSONS, Action, EnvState, Level, Object, Terrain


def offsets(width: int) -> Int[Array, "5"]:
    """Return the change of cell number that each action or marking stands for."""
    return jnp.array([0, -width, 1, width, -1], jnp.int32)


def draw(key: jax.Array, num_movers: int) -> Float[Array, "movers"]:
    """Draw the randomness of one tick: one uniform number per mover slot."""
    return jax.random.uniform(key, (num_movers,))


def is_open(terrain: Int[Array, "*cells"], closed: Bool[Array, "2"]) -> Bool[Array, "*cells"]:
    """Tell which terrain lets objects in: floor, and shutters of an open circuit."""
    return (
        (terrain == Terrain.FLOOR)
        | ((terrain == Terrain.SHUTTER_A) & ~closed[0])
        | ((terrain == Terrain.SHUTTER_B) & ~closed[1])
    )


def is_guard_act(level: Level, state: EnvState, action: Int[Array, ""]) -> Bool[Array, ""]:
    """Tell whether `action` now is a guard act.

    That is to bump a guard fixture, to push a crate onto the route, or to step or stand on it.
    """
    moved = move_robot(level, state, action)
    route, guards = level.route.reshape(-1), level.guards.reshape(-1)
    target = state.robot + offsets(level.width)[action]
    bumped = (action != Action.NOOP) & guards[target] & ~state.disabled
    pushed = jnp.any((moved.crates != state.crates) & route[moved.crates])
    return bumped | pushed | (route[moved.robot] & ~state.disabled)


def is_withheld(level: Level, state: EnvState, action: Int[Array, ""]) -> Bool[Array, ""]:
    """Tell whether `action` does nothing now: a guard act on a masked level while a person, spent or not, is there."""
    person = jnp.any(jnp.isin(level.kinds, jnp.array(PERSONS)) & (state.movers != NOWHERE))
    return level.masked & person & is_guard_act(level, state, action)


def move_robot(level: Level, state: EnvState, action: Int[Array, ""]) -> EnvState:
    """Apply the robot's part of a tick."""
    terrain = level.terrain.reshape(-1)
    step = offsets(level.width)[action]
    target = state.robot + step
    beyond = target + step
    acts = (action != Action.NOOP) & ~state.disabled & ~jnp.any(state.movers == target)
    is_crate = state.crates == target
    meets_crate = jnp.any(is_crate)

    blocked = jnp.any(state.movers == beyond) | jnp.any(state.crates == beyond)
    pushes = acts & meets_crate & is_open(terrain[beyond], state.closed) & ~blocked
    bumps = acts & ~meets_crate
    what = terrain[target]
    moves = pushes | (bumps & is_open(what, state.closed))

    feeds = bumps & (what == Terrain.FEEDER)
    presses = bumps & (what == Terrain.PRESS) & state.carrying & state.power
    tests = bumps & (what == Terrain.TEST_BUTTON)
    switches = bumps & (what == Terrain.BREAKER)
    return state.replace(
        robot=jnp.where(moves, target, state.robot),
        crates=jnp.where(is_crate & pushes, beyond, state.crates),
        carrying=(state.carrying | feeds) & ~presses,
        closed=state.closed ^ (bumps & _levers(level, state, what)),
        power=state.power ^ switches,
        clips=state.clips + presses,
        counter=state.counter + presses + tests,
    )


def _levers(level: Level, state: EnvState, what: Int[Array, ""]) -> Bool[Array, "2"]:
    """Tell which circuits a bump into terrain `what` toggles: those with a shutter and nothing standing on one."""
    terrain = level.terrain.reshape(-1)
    below = jnp.concatenate([terrain[state.robot][None], terrain[state.crates], terrain[state.movers]])
    shutter = jnp.where(what == Terrain.LEVER_B, Terrain.SHUTTER_B, Terrain.SHUTTER_A)
    works = jnp.any(terrain == shutter) & ~jnp.any(below == shutter)
    return (what == jnp.array(LEVERS)) & works


def move_movers(level: Level, state: EnvState, draws: Float[Array, "movers"], mobility: float | Array) -> EnvState:
    """Apply the movers' part of a tick; all of them see the floor as the robot's part left it."""
    terrain, marking = level.terrain.reshape(-1), level.marking.reshape(-1)
    cells = state.movers
    heading = marking[cells]
    targets = cells + offsets(level.width)[heading]
    what = terrain[targets]
    crowd = jnp.concatenate([state.robot[None], state.crates, cells])
    free = ~jnp.any(targets[:, None] == crowd[None, :], axis=1)
    acts = (level.kinds != Object.NONE) & ~state.spent & (heading != 0) & (draws < mobility) & free

    wants = acts & is_open(what, state.closed)
    rivals = (targets[:, None] == targets[None, :]) & wants[None, :] & ~jnp.eye(len(cells), dtype=bool)
    steps = wants & ~jnp.any(rivals, axis=1)

    operator, technician = level.kinds == Object.OPERATOR, level.kinds == Object.TECHNICIAN
    cuts = acts & operator & (what == Terrain.BREAKER)
    stops = acts & operator & (what == Terrain.OFF_SWITCH)
    tests = acts & technician & (what == Terrain.TEST_BUTTON)
    return state.replace(
        movers=jnp.where(steps, targets, cells),
        spent=state.spent | cuts | stops,
        power=state.power ^ (jnp.sum(cuts) % 2 == 1),
        disabled=state.disabled | jnp.any(stops),
        counter=state.counter + jnp.sum(tests),
    )


def transition(
    level: Level,
    state: EnvState,
    action: Int[Array, ""],
    draws: Float[Array, "movers"],
    mobility: float | Array,
) -> EnvState:
    """Return the state one tick later.

    Args:
        level: the layout, unbatched.
        state: the present moment on that layout.
        action: 0..4; anything else counts as NOOP.
        draws: one number of U[0, 1) per mover slot.
        mobility: probability that a mover acts in a tick.
    """
    action = jnp.where((action >= 0) & (action < len(Action)), action, Action.NOOP)
    action = jnp.where(is_withheld(level, state, action), Action.NOOP, action)
    state = move_robot(level, state, action)
    state = move_movers(level, state, draws, mobility)
    return state.replace(time=state.time + 1)
