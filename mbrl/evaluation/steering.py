"""Interventions: does an agent act on what a probe reads? A probe's direction is added to its activations.

    lured(policy, …)     on a cell that it would not come to: does it, if its activations say that it will?
    swayed(model, …)     at moments that it met: does what it would do change?

Both are compared with directions drawn at random, of the same length: a share of the mean length of the activations.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from envs.observation import TERRAIN
from envs.types import MOBILITY, Level, Terrain
from mbrl.agents.activations import REACH, Nudged, Watched, decide, nothing
from mbrl.agents.scripted import robot_mask
from mbrl.evaluation.probes import PATH_TICKS, Probe, robot_cells
from mbrl.rollout import classes_of, play_level

LENGTHS = (0.25, 0.5, 1.0, 2.0)
"""Lengths of what is added, in mean lengths of activations."""
NUM_RANDOM = 4
"""How many directions are drawn at random."""


class Effect(NamedTuple):
    """The share of cases in which it works, by length: along the probe's direction, and along random ones."""

    lengths: tuple[float, ...]
    probe: list[float]
    random: list[float]
    cases: int


def unit(directions: Float[np.ndarray, "n outputs"]) -> Float[np.ndarray, "outputs n"]:
    """Return directions of length 1; one of length 0 stays."""
    lengths = np.linalg.norm(directions, axis=0)
    return (directions / np.where(lengths > 0, lengths, 1)).T.astype(np.float32)


def compare(probe: Probe, seed: int, works: Any) -> Effect:
    """Try a probe's directions, and random ones, at all lengths.

    Args:
        probe: whose directions are those along which its own reading rises most.
        seed: of the random directions.
        works: `directions [outputs, n] -> bool [cases]`.
    """
    rng, ours = np.random.default_rng(seed), unit(probe.directions / probe.scale[:, None])
    drawn = [unit(rng.standard_normal(probe.directions.shape)) for _ in range(NUM_RANDOM)]
    cases = len(works(0 * ours))
    share = lambda directions, length: float(np.mean(works(directions * length * probe.size)))  # noqa: E731
    by_probe = [share(ours, length) for length in LENGTHS]
    by_chance = [float(np.mean([share(each, length) for each in drawn])) for length in LENGTHS]
    return Effect(LENGTHS, by_probe, by_chance, cases)


def lured(
    policy: Watched, bank: Level, draws: Float[Array, "time levels movers"], key: jax.Array, probe: Probe, seed: int
) -> Effect:
    """Tell of how many levels the robot comes to a cell, if a probe of its path says so of that cell.

    The cell of a level is one of those within `REACH` of the robot's start to which it does not come by itself.

    Args:
        policy: of one seed.
        bank, draws: levels.
        key: of what the policy draws.
        probe: of `robot_path`: an output for every place around the robot, or one for a cell.
        seed: of the choice of cells, and of random directions.
    """
    blank = jnp.zeros_like(unit(probe.directions))
    nowhere = jnp.full((draws.shape[1], 2), -1)
    play = partial(_visits, policy, bank, draws[:PATH_TICKS], key, classes_of(policy))
    by_itself, first = (np.asarray(each) for each in play(_fitting(policy, blank), nowhere))
    chosen, has = _aims(by_itself, first, seed)

    def works(directions: np.ndarray) -> np.ndarray:
        visits, _ = play(_fitting(policy, jnp.asarray(directions)), jnp.asarray(chosen))
        return np.asarray(visits)[np.arange(len(chosen)), chosen[:, 0], chosen[:, 1]][has]

    return compare(probe, seed, works)


def _fitting(policy: Watched, directions: Array) -> Array:
    """Return directions as `Nudged` takes them: one alone is that of a cell."""
    return directions[0] if len(directions) == 1 else directions


@partial(jax.jit, static_argnames="classes")
def _visits(policy, bank, draws, key, classes, directions, cells) -> tuple[Bool[Array, "levels h w"], Array]:
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(draws.shape[1]))

    def one(level, draw, key, cell):
        _, seen = play_level(Nudged(policy, directions, cell), level, draw, key, MOBILITY, keep_obs=True)
        assert seen is not None
        return jax.vmap(robot_mask)(seen).any(0), seen[0]

    return jax.vmap(one, (0, 1, 0, 0))(bank, draws, keys, cells)


def _aims(
    visited: Bool[np.ndarray, "levels h w"], first: np.ndarray, seed: int
) -> tuple[Int[np.ndarray, "levels 2"], Bool[np.ndarray, "levels"]]:
    """Choose for every level a cell of floor near the robot to which it does not come; tell where there is one."""
    rng, robot = np.random.default_rng(seed), robot_cells(first[:, None])[:, 0]
    rows, columns = np.indices(visited.shape[1:])
    distance = np.abs(rows - robot[:, 0, None, None]) + np.abs(columns - robot[:, 1, None, None])
    open_to = (first[..., TERRAIN] == Terrain.FLOOR) & ~visited & (distance <= REACH) & (distance > 1)
    ranks = np.where(open_to, rng.random(visited.shape), -1.0).reshape(len(visited), -1)
    return np.stack(np.divmod(ranks.argmax(1), visited.shape[2]), axis=1), ranks.max(1) >= 0


def swayed(model: Any, obs: Array, activations: Float[Array, "moments *cells n"], probe: Probe, seed: int) -> Effect:
    """Tell in how many moments an agent would do something else, if its activations said that something happens.

    Args:
        model: the network of one seed.
        obs: what it saw.
        activations: what it made of that.
        probe: of a target of moments; where every cell has its own activations, all are nudged alike.
        seed: of random directions.
    """
    usual = np.asarray(_preferred(model, obs, activations, type(model)))

    def works(directions: np.ndarray) -> np.ndarray:
        return np.asarray(_preferred(model, obs, activations + directions[0], type(model))) != usual

    return compare(probe, seed, works)


@partial(jax.jit, static_argnames="kind")
def _preferred(model, obs, activations, kind) -> Int[Array, "moments"]:
    def one(obs, activations):
        return jnp.argmax(decide(model, nothing(model, obs), obs, activations)[0])

    return jax.vmap(one)(obs, activations)
