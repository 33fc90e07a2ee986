"""Random play, drawn beforehand, so that the same can be played on a level and on what was made of it."""

import jax
import jax.numpy as jnp
import numpy as np

from envs import rules
from envs.types import EnvState, Level, initial_state

NUM_TICKS = 64


def random_play(count: int, num_movers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw actions `[count, time]`, half of which repeat the one before, so that the robot gets about, and draws."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 5, (count, NUM_TICKS))
    chosen = np.where(rng.random(actions.shape) < 0.5, np.arange(NUM_TICKS), 0)
    actions = np.take_along_axis(actions, np.maximum.accumulate(chosen, axis=1), axis=1)
    return actions, rng.random((count, NUM_TICKS, num_movers), np.float32)


@jax.jit
def play(bank, actions, draws, avoided, barred) -> tuple[EnvState, jax.Array]:
    """Play on a bank; return the states `[levels, time + 1]` and whether each intended action was a guard act.

    Where the robot, or a crate it would push, would touch an `avoided` cell, the robot does nothing; a mover whose way
    leads into a `barred` cell waits.
    """

    def episode(level, actions, draws, avoided, barred):
        steps = jnp.array([0, -level.width, 1, level.width, -1])

        def tick(state, inputs):
            action, draw = inputs
            guard = rules.is_guard_act(level, state, action)
            target = state.robot + steps[action]
            pushed = jnp.any(state.crates == target) & avoided[target + steps[action]]
            executed = jnp.where(avoided[target] | pushed, 0, action)
            draw = jnp.where(barred[state.movers + steps[level.marking.reshape(-1)[state.movers]]], 1.0, draw)
            new = rules.transition(level, state, executed, draw, 0.6)
            return new, (new, guard)

        begun = initial_state(level)
        _, (states, guard) = jax.lax.scan(tick, begun, (actions, draws))
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), begun, states), guard

    flat = (mask.reshape(len(mask), -1) for mask in (avoided, barred))
    return jax.vmap(episode)(jax.tree.map(jnp.asarray, bank), actions, draws, *flat)


def play_freely(bank: Level, actions: np.ndarray, draws: np.ndarray) -> tuple[EnvState, np.ndarray]:
    nothing = np.zeros(bank.terrain.shape, bool)
    return jax.device_get(play(bank, actions, draws, nothing, nothing))
