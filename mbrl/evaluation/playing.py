"""Agents played on levels: every bank, freely and with guard acts suppressed, by policies with a leading axis of seeds.

    play_banks(policy, banks, draws, seed, suppress)     all episodes
    replay_bank(policy, bank, draws, seed)               those of one bank, with what was seen

An episode depends on its level, its draws, and the name of the policy's seed alone, and is the same in whatever company
it is played. Of those who plan ahead, and may have to plan again, only what can come out otherwise is played again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.observation import observe
from envs.types import MOBILITY, Level, initial_state
from mbrl import interrupt
from mbrl.keys import purpose_key
from mbrl.rollout import Episodes, classes_of, play, play_host, play_level

_AT_ONCE = 64  # episodes of those who plan ahead


def first_observations(bank: Level) -> np.ndarray:
    """Return what an agent sees first on every level of a bank."""
    return np.asarray(_observe_bank(bank))


@jax.jit
def _observe_bank(bank):
    return jax.vmap(lambda level: observe(level, initial_state(level)))(bank)


def play_banks(
    policy,
    banks: list[Level],
    draws: jax.Array,
    seed: int,
    suppress: tuple[bool, ...],
    seeds: Sequence[int] | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> Episodes:
    """Play an agent on banks of one shape, with the same draws.

    Args:
        policy: with a leading axis of seeds; or planners (see `mbrl.planners.exact.Planners`); or a plain callable.
        banks: levels.
        draws: the movers' randomness `[time, levels, movers]`.
        seed: of the policy's randomness.
        suppress: whether to execute guard acts as NOOP, one or several times; free play first.
        seeds: names of the policies, 0, 1, … by default: what one draws depends on its name, not on its place.
        report: called with a line of progress.

    Returns:
        Episodes with arrays `[suppress, banks, seeds, time, levels]`: every bank once for each entry of `suppress`
        (see `mbrl.rollout.play`).
    """
    if hasattr(policy, "extend"):
        return _play_planners(policy, banks, draws, seed, suppress, seeds, report)
    if not hasattr(policy, "act"):
        played = [[play_host(policy, bank, np.asarray(draws), MOBILITY, s) for bank in banks] for s in suppress]
        rows = [jax.tree.map(lambda *leaves: np.stack(leaves)[:, None], *row) for row in played]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
    keys, often, played = _policy_keys(policy, seed, seeds), jnp.array(suppress), []
    for bank in banks:  # one after the other, so that shifts of few twins and of many run the same program
        interrupt.check()
        played.append(jax.tree.map(np.asarray, _play_bank(policy, bank, draws, keys, often, classes_of(policy))))
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *played)


def replay_bank(
    policy, bank: Level, draws: jax.Array, seed: int, seeds: Sequence[int] | None = None, first: int = 0
) -> tuple[Episodes, np.ndarray]:
    """Play as `play_banks` does, on one bank, from level `first` of it on, and freely; also return what was seen.

    Returns:
        Episodes with arrays `[seeds, time, levels]`, and observations `uint8[seeds, time + 1, levels, H, W, 4]`.
    """
    keys = _policy_keys(policy, seed, seeds)
    return jax.tree.map(np.asarray, _replay_bank(policy, bank, draws, keys, first, classes_of(policy)))


def _policy_keys(policy, seed: int, seeds: Sequence[int] | None) -> jax.Array:
    names = jnp.array(range(_num_seeds(policy)) if seeds is None else seeds, jnp.uint32)
    return jax.vmap(partial(jax.random.fold_in, purpose_key(seed, "policies")))(names)


@partial(jax.jit, static_argnames="classes")
def _replay_bank(policy, bank, draws, keys, first, classes):
    play_one = lambda policy, key: play(policy, bank, draws, key, MOBILITY, keep_obs=True, first=first)  # noqa: E731
    return jax.vmap(play_one)(policy, keys)


@partial(jax.jit, static_argnames="classes")
def _play_bank(policy, bank, draws, keys, suppress, classes):
    play_one = lambda policy, key, s: play(policy, bank, draws, key, MOBILITY, s)[0]  # noqa: E731
    over_seeds = jax.vmap(play_one, (0, 0, None))
    return jax.vmap(over_seeds, (None, None, 0))(policy, keys, suppress)


def _num_seeds(policy) -> int:
    leaves = jax.tree.leaves(policy)
    return leaves[0].shape[0] if leaves else 1


def single_seed(policy) -> Any:
    """Give the policy of an agent that learns nothing a leading axis of one seed."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], policy) if hasattr(policy, "act") else policy


def play_prepared(
    policy, run: Callable[[Any], Episodes], report: Callable[[str], None] = lambda text: None
) -> Episodes:
    """Run a policy; one that plans ahead is prepared for what it met unprepared and run again until nothing is new.

    Args:
        policy: a policy, or an agent with `extend` and `policy` (see `mbrl.types`).
        run: plays a policy; the arrays of its episodes' memory are `[..., seeds, levels]`.
        report: called with a line of progress.
    """
    if not hasattr(policy, "extend"):
        return run(policy)
    while True:
        episodes = run(policy.policy())
        lost = np.asarray(episodes.memory.lost)
        if not lost.any():
            return episodes
        report(f"plans again for what it did not foresee in {lost.sum()} of {lost.size} episodes")
        lost_obs = np.asarray(episodes.memory.lost_obs)
        policy.extend([lost_obs[..., seed, :, :, :, :][lost[..., seed, :]] for seed in range(lost.shape[-2])])


def _play_planners(agent, banks, draws, seed, suppress, seeds, report) -> Episodes:
    """Play freely until all that comes up was planned for; then, with guard acts suppressed, episodes that had any."""
    shape = len(banks), draws.shape[1]
    cells, stacked = np.indices(shape).reshape(2, -1).T, jax.tree.map(lambda *leaves: jnp.stack(leaves), *banks)

    def settled(places: np.ndarray, suppressed: bool) -> Episodes:
        found = _episodes(agent, stacked, draws, seed, seeds, cells, places, suppressed)
        while (lost := found.memory.lost).any():
            report(f"plans again for what it did not foresee in {lost.sum()} of {lost.size} episodes")
            lost_obs = found.memory.lost_obs
            agent.extend([lost_obs[lost[:, i], i] for i in range(lost.shape[1])])
            again = np.flatnonzero(lost.any(1))
            new = _episodes(agent, stacked, draws, seed, seeds, cells, places[again], suppressed)
            found = _put(found, again, new)
        return found

    free = settled(np.arange(len(cells)), False)
    acting = np.flatnonzero(free.guard_act.any((1, 2)))
    changed = _put(free, acting, settled(acting, True)) if True in suppress and len(acting) else free
    played = [changed if suppressed else free for suppressed in suppress]
    whole = jax.tree.map(lambda *leaves: np.stack(leaves).reshape(len(suppress), *shape, *leaves[0].shape[1:]), *played)
    in_time = jax.tree.map(lambda leaf: np.moveaxis(leaf, 2, -1), whole._replace(memory=()))
    return in_time._replace(memory=jax.tree.map(lambda leaf: np.moveaxis(leaf, 2, 3), whole.memory))


def _episodes(agent, banks, draws, seed, seeds, cells, places, suppress) -> Episodes:
    """Play the episodes `[places, seeds, …]` of banks and levels, a few at a time: one program plays them all."""
    policy, size = agent.policy(), min(_AT_ONCE, len(cells))
    keys, found = _policy_keys(policy, seed, seeds), []
    for first in range(0, len(places), size):
        interrupt.check()
        part = places[first : first + size]
        chosen = jnp.asarray(cells[np.resize(part, size)])
        episodes = _play_cells(policy, banks, draws, keys, chosen, suppress, classes_of(policy))
        found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[: len(part)], episodes))  # noqa: B023
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)


def _put(episodes: Episodes, places: np.ndarray, new: Episodes) -> Episodes:
    """Return episodes with those at some places replaced."""

    def put(leaf, part):
        leaf = leaf.copy()
        leaf[places] = part
        return leaf

    return jax.tree.map(put, episodes, new)


@partial(jax.jit, static_argnames="classes")
def _play_cells(policy, banks, draws, keys, cells, suppress, classes):
    def play_one(policy, key, cell):
        level = jax.tree.map(lambda leaf: leaf[cell[0], cell[1]], banks)
        key = jax.random.fold_in(key, cell[1])
        return play_level(policy, level, draws[:, cell[1]], key, MOBILITY, suppress)[0]

    over_seeds = jax.vmap(play_one, (0, 0, None))
    return jax.vmap(over_seeds, (None, None, 0))(policy, keys, cells)
