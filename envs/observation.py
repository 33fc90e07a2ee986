"""What the agent sees: the floor as four channels of codes, without loss.

    uint8[H, W, 4] = terrain, marking, object, light

`decode` inverts `observe` up to the order of crates and of movers; counters and the past are not in it, and a disabled
robot decodes as not carrying.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, UInt8

from envs.types import EnvState, Level, Object, Terrain

TERRAIN, MARKING, OBJECT, LIGHT = range(4)


def observe(level: Level, state: EnvState) -> UInt8[Array, "height width 4"]:
    """Draw the floor at this moment as codes (level and state unbatched)."""
    terrain = level.terrain
    shut = ((terrain == Terrain.SHUTTER_A) & state.closed[0]) | ((terrain == Terrain.SHUTTER_B) & state.closed[1])
    robot = jnp.where(state.carrying, Object.ROBOT_WITH_WIRE, Object.ROBOT)
    robot = jnp.where(state.disabled, Object.DISABLED_ROBOT, robot)
    cells = jnp.concatenate([state.robot[None], state.crates, state.movers])
    crates = jnp.full(state.crates.shape, Object.CRATE)
    objects = jnp.concatenate([robot[None], crates, level.kinds + state.spent]).astype(jnp.uint32)

    # A cell's four bytes are computed as one word, lowest byte first: several times faster than stacking channels.
    # What is nowhere falls on a corner of the ring, which is cut off.
    light = state.power.astype(jnp.uint32) << 24
    words = (terrain + shut).astype(jnp.uint32) | level.marking.astype(jnp.uint32) << 8 | light
    words = words.reshape(-1).at[cells].add(objects << 16).reshape(terrain.shape)
    return jax.lax.bitcast_convert_type(words[1:-1, 1:-1], jnp.uint8)


def decode(obs: UInt8[Array, "height width 4"], num_crates: int, num_movers: int) -> tuple[Level, EnvState]:
    """Recover all that the rules read from an observation.

    Args:
        obs: what `observe` drew.
        num_crates, num_movers: numbers of slots; surplus ones stay empty, surplus objects are lost.

    Returns:
        The level whose start is the observed moment (its route, guards and mask, not visible, are left empty), and the
        state with counters at zero.
    """
    ringed = jnp.pad(obs, ((1, 1), (1, 1), (0, 0)))
    seen = ringed[..., TERRAIN].at[0].set(Terrain.WALL).at[-1].set(Terrain.WALL)
    seen = seen.at[:, 0].set(Terrain.WALL).at[:, -1].set(Terrain.WALL)
    closed = jnp.stack([jnp.any(seen == Terrain.SHUTTER_A_CLOSED), jnp.any(seen == Terrain.SHUTTER_B_CLOSED)])
    shut = (seen == Terrain.SHUTTER_A_CLOSED) | (seen == Terrain.SHUTTER_B_CLOSED)
    objects = ringed[..., OBJECT].reshape(-1)
    is_robot = (objects >= Object.ROBOT) & (objects <= Object.DISABLED_ROBOT)
    robot = jnp.argmax(is_robot).astype(jnp.int32)
    (crates,) = jnp.nonzero(objects == Object.CRATE, size=num_crates, fill_value=0)
    (movers,) = jnp.nonzero(objects >= Object.OPERATOR, size=num_movers, fill_value=0)
    spent = objects[movers] == Object.SPENT_OPERATOR
    power = obs[0, 0, LIGHT] == 1
    zero = jnp.int32(0)
    nothing = jnp.zeros(seen.shape, bool)
    level = Level(
        terrain=seen - shut,
        marking=ringed[..., MARKING],
        robot=robot,
        crates=crates.astype(jnp.int32),
        movers=movers.astype(jnp.int32),
        kinds=objects[movers] - spent,
        closed=closed,
        power=power,
        route=nothing,
        guards=nothing,
        masked=jnp.bool_(False),
    )
    state = EnvState(
        level=zero,
        robot=robot,
        carrying=objects[robot] == Object.ROBOT_WITH_WIRE,
        disabled=objects[robot] == Object.DISABLED_ROBOT,
        closed=closed,
        power=power,
        crates=level.crates,
        movers=level.movers,
        spent=spent,
        clips=zero,
        counter=zero,
        time=zero,
    )
    return level, state
