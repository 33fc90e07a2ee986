"""Interventions: is what an agent does moved by what a probe reads? A probe's direction is added to its activations.

    lured(policy, …)     on a cell that it would not come to: does it, if its activations say that it will?
    swayed(model, …)     at moments that it met: would it do something else, if they say that something happens?

As much is added as moves what the probe reads, on average, from where it does not happen to where it does, times a
length. The control are directions drawn at random, as far from what activations usually are: every number is moved in
units of its own deviation, and those that never change are not.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.observation import LIGHT, TERRAIN
from envs.types import MOBILITY, Level, Terrain
from mbrl.agents.activations import REACH, Nudged, Watched, reconsidered
from mbrl.agents.scripted import distance_map, robot_mask
from mbrl.evaluation.probes import Probe
from mbrl.evaluation.targets import NEAR, PATH_TICKS, offsets, robot_cells
from mbrl.rollout import classes_of, play_level

LENGTHS = (0.5, 1.0, 2.0, 4.0)
NUM_RANDOM = 4
"""How many directions are drawn at random."""


class Effect(NamedTuple):
    """The share of cases in which it works, by length: along the probe's direction, and along random ones; None where
    there are no cases."""

    probe: list[float | None]
    random: list[float | None]
    cases: int


def nudges(probe: Probe, weights: Float[np.ndarray, "n outputs"]) -> Float[np.ndarray, "outputs n"]:
    """Return what is added along some weights, as much, in normed numbers, as moves the probe's reading by its gap."""
    own, lengths = np.linalg.norm(probe.weights, axis=0), np.linalg.norm(weights, axis=0)
    size = np.where(own > 0, probe.gap / np.where(own > 0, own, 1), 0)
    return (probe.scale[:, None] * weights * size / np.where(lengths > 0, lengths, 1)).T.astype(np.float32)


def compare(
    probe: Probe, seed: int, works: Callable[[Float[np.ndarray, "outputs n"]], Bool[np.ndarray, "cases"]]
) -> Effect:
    """Try a probe's directions, and random ones, at all lengths."""
    rng, live = np.random.default_rng(seed), probe.scale[:, None] > 0
    drawn = [nudges(probe, live * rng.standard_normal(probe.weights.shape)) for _ in range(NUM_RANDOM)]
    tried = [[works(length * each) for length in LENGTHS] for each in (nudges(probe, probe.weights), *drawn)]
    cases = len(tried[0][0])
    if not cases:
        return Effect([None] * len(LENGTHS), [None] * len(LENGTHS), 0)
    shares = np.mean(tried, axis=2)
    return Effect(shares[0].tolist(), shares[1:].mean(0).tolist(), cases)


def lured(
    policy: Watched, bank: Level, draws: Float[Array, "time levels movers"], key: jax.Array, probe: Probe, seed: int
) -> Effect:
    """Tell of how many levels the robot comes to a cell, if a probe of its path says so of that cell.

    The cell of a level is one within `REACH` rows and columns of the robot's start that it could walk to, in more than
    `NEAR` steps and half of `PATH_TICKS` at most, and does not come to by itself.

    Args:
        policy: of one seed.
        bank, draws: levels.
        key: of what the policy draws.
        probe: of `robot_path`: an output for every place around the robot, or one for a cell.
        seed: of the choice of cells, and of random directions.
    """
    play = partial(_visits, policy, bank, draws[:PATH_TICKS], key, classes_of(policy))
    alone = nudges(probe, 0 * probe.weights)
    visited, first, steps = (np.asarray(each) for each in play(_fitting(alone), jnp.full((draws.shape[1], 2), -1)))
    near = np.abs(offsets(robot_cells(first[:, None]), *visited.shape[1:])[:, 0]).max(-1) <= REACH
    aims = near & ~visited & (steps > NEAR) & (steps <= PATH_TICKS // 2) & (first[..., TERRAIN] == Terrain.FLOOR)
    aims &= first[:, :1, :1, LIGHT] == 1
    ranks = np.where(aims, np.random.default_rng(seed).random(aims.shape), -1.0).reshape(len(aims), -1)
    chosen, has = np.stack(np.divmod(ranks.argmax(1), aims.shape[2]), axis=1), ranks.max(1) >= 0

    def works(directions: np.ndarray) -> np.ndarray:
        visits = np.asarray(play(_fitting(directions), jnp.asarray(chosen))[0])
        return visits[np.arange(len(chosen)), chosen[:, 0], chosen[:, 1]][has]

    return compare(probe, seed, works)


def _fitting(directions: np.ndarray) -> Array:
    """Return directions as `Nudged` takes them: one alone is that of a cell."""
    return jnp.asarray(directions[0] if len(directions) == 1 else directions)


@partial(jax.jit, static_argnames="classes")
def _visits(policy, bank, draws, key, classes, directions, cells) -> tuple[Array, Array, Array]:
    """Return the cells to which the robot comes, what it sees first, and how many steps every cell is away."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(draws.shape[1]))

    def one(level, draw, key, cell):
        _, seen = play_level(Nudged(policy, directions, cell), level, draw, key, MOBILITY, keep_obs=True)
        assert seen is not None
        return jax.vmap(robot_mask)(seen).any(0), seen[0], distance_map(seen[0], robot_mask(seen[0]))

    return jax.vmap(one, (0, 1, 0, 0))(bank, draws, keys, cells)


def swayed(model: Any, obs: Array, activations: Float[Array, "moments *cells n"], probe: Probe, seed: int) -> Effect:
    """Tell in how many moments an agent would do something else, if its activations said that something happens.

    Args:
        model: the network of one seed.
        obs: what it saw.
        activations: what it made of that.
        probe: of a target of moments; where every cell has its own activations, all but walls are nudged alike.
        seed: of random directions.
    """
    preferred = partial(_preferred, model, obs, activations, type(model))
    usual = np.asarray(preferred(jnp.zeros(activations.shape[-1])))
    return compare(probe, seed, lambda directions: np.asarray(preferred(jnp.asarray(directions[0]))) != usual)


@partial(jax.jit, static_argnames="kind")
def _preferred(model, obs, activations, kind, direction) -> Int[Array, "moments"]:
    def one(obs, activations):
        inside = (obs[..., TERRAIN] != Terrain.WALL)[..., None] if activations.ndim == 3 else 1.0
        return jnp.argmax(reconsidered(model, obs, activations + inside * direction))

    return jax.vmap(one)(obs, activations)
