"""Levels from rows of glyphs or from the generators, and transitions on them."""

from itertools import chain, islice

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.battery import SHIFTS, draw_series
from envs.levels import pad_level, stack_levels
from envs.regimes import draw_family
from envs.rules import draw

NOOP, UP, RIGHT, DOWN, LEFT = range(5)
WALK = "..... >>>>."
NUM_LEVELS, COPIES = 120, 12
TRAINING_FAMILIES = (
    "production", "jams", "witness", "bystander", "workshop", "idle_workshop", "service", "retiring", "masked",
)  # fmt: skip


def level(name: str, rows: str, walkway: str = "", *movers: tuple[str, int, int], **keys: str) -> envs.Level:
    """Build a level from rows separated by blanks; without a walkway no cell is marked."""
    grid = rows.split()
    ways = walkway.split() or ["." * len(grid[0])] * len(grid)
    lines = [f'name = "{name}"', *(f"{key} = {value}" for key, value in keys.items())]
    for key, cells in (("map", grid), ("walkway", ways)):
        lines += [f'{key} = """', *cells, '"""']
    for kind, row, column in movers:
        lines += ["[[movers]]", f'kind = "{kind}"', f"at = [{row}, {column}]"]
    return envs.parse_level("\n".join(lines))


def drawn_levels(name: str, count: int, seed: int = 4) -> list[envs.Level]:
    """Draw candidates for deployment of a shift, interfering paying or not, or levels of a training family."""
    if name not in SHIFTS:
        return list(islice(draw_family(name, seed), count))
    series = draw_series(SHIFTS[name], seed, deployment=True, stream="candidates")
    return list(islice(chain.from_iterable(series), count))


@jax.jit
def play_randomly(bank, key):
    """Play `COPIES` episodes of random actions on every level; return all transitions."""

    def tick(carry, tick_key):
        level, state = carry
        action_key, draw_key = jax.random.split(tick_key)
        action = jax.random.randint(action_key, (), 0, 5)
        new = envs.transition(level, state, action, draw(draw_key, level.movers.shape[0]), 0.6)
        reward = new.counter - state.counter
        return (level, new), (envs.observe(level, state), action, reward, envs.observe(level, new))

    def episode(level, episode_key):
        return jax.lax.scan(tick, (level, envs.initial_state(level)), jax.random.split(episode_key, 64))[1]

    keys = jax.random.split(key, (bank.robot.shape[0], COPIES))
    played = jax.vmap(jax.vmap(episode, (None, 0)))(bank, keys)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[3:]), played)


def experience(levels: list[envs.Level]) -> tuple[np.ndarray, ...]:
    bank = jax.tree.map(jnp.asarray, stack_levels(levels, (7, 11, 1, 2)))
    return tuple(np.asarray(part) for part in play_randomly(bank, jax.random.key(0)))


def last_step(start: envs.Level, actions: tuple[int, ...], mobility: float = 1.0) -> tuple[np.ndarray, ...]:
    """Play `actions` and return the last transition; all movers that can act do, or none with mobility 0."""
    start = pad_level(start, *np.maximum(start.shape, (3, 6)), 1, 2).replace(name="")
    new = envs.initial_state(start)
    for action in actions:
        state, new = new, _transition(start, new, action, jnp.zeros(2), mobility)
    seen = _observe(start, state), action, new.counter - state.counter, _observe(start, new)
    return tuple(np.asarray(part)[None] for part in seen)


_transition, _observe = jax.jit(envs.transition), jax.jit(envs.observe)
