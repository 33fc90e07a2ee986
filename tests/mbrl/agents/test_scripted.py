"""Agents that learn nothing: their distance maps against breadth-first search, and what they do."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.levels import stack_levels
from mbrl.agents.scripted import FAR, Habit, Idle, Wanderer, distance_map, work_maps
from mbrl.rollout import play

TICKS, MANY = 40, 200
CORRIDOR = 'name = "corridor"\nmap = """\nW.@..P\n"""\nwalkway = """\n......\n"""\n'
BEHIND_A_SHUTTER = CORRIDOR.replace("W.@..P", "W.@S.P")
FEEDER = 2
PRESS = 4


def search(terrain: np.ndarray, goal: int) -> np.ndarray:
    """Breadth-first search from all goals over floor and open shutters, in plain Python."""
    found = np.full(terrain.shape, FAR)
    queue = deque((int(row), int(column)) for row, column in np.argwhere(terrain == goal))
    for cell in queue:
        found[cell] = 0
    while queue:
        row, column = queue.popleft()
        for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
            inside = 0 <= near[0] < terrain.shape[0] and 0 <= near[1] < terrain.shape[1]
            if inside and terrain[near] in (0, 10, 12) and found[near] == FAR:
                found[near] = found[row, column] + 1
                queue.append(near)
    return found


def observations(levels: list[envs.Level]) -> np.ndarray:
    bank = stack_levels(levels, (7, 11, 1, 2))
    return np.asarray(jax.vmap(lambda level: envs.observe(level, envs.initial_state(level)))(bank))


def test_distance_maps_are_those_of_breadth_first_search():
    obs = observations(envs.regime_levels("workshop", 40, seed=11))
    maps = np.asarray(jax.jit(jax.vmap(work_maps))(obs))
    for seen, found in zip(obs, maps, strict=True):
        for goal, distances in zip((FEEDER, PRESS), found, strict=True):
            np.testing.assert_array_equal(distances, search(seen[..., 0], goal))
    assert (maps[:, 0] == FAR).all(axis=(1, 2)).any(), "some levels have no wire"
    assert (obs[..., 0] == 11).any() and (obs[..., 0] == 10).any(), "some shutters are open, some closed"


def test_closed_shutters_and_movers_differ_on_the_map():
    """A closed shutter is no way; whoever stands in the way is passed over, he may be gone when the robot comes."""
    level = envs.parse_level(BEHIND_A_SHUTTER + '[[movers]]\nkind = "cart1"\nat = [0, 4]\n')
    is_open, shut = observations([level, level.replace(closed=np.array([True, False]))])
    assert distance_map(is_open, is_open[..., 0] == PRESS)[0, :6].tolist() == [FAR, 4, 3, 2, 1, 0]
    assert distance_map(shut, shut[..., 0] == PRESS)[0, :6].tolist() == [FAR, FAR, FAR, FAR, 1, 0]


def test_habit_works_and_idle_does_not():
    """Two moves to the wire, then eight ticks a clip: three moves, a bump at the press, three moves, a bump for wire.

    Tick 1 takes the first wire (step left, bump), tick 5 makes the first clip, and every eighth tick one more.
    """
    levels = [envs.parse_level(CORRIDOR), envs.parse_level(CORRIDOR.replace("W", "w"))]
    dark = levels[0].replace(power=np.bool_(False))
    bank = jax.tree.map(jnp.asarray, stack_levels([*levels, dark] + levels[:1] * (MANY - 3)))
    draws = jnp.zeros((TICKS, MANY, 0))
    working, _ = play(Habit(epsilon=0.0), bank, draws, jax.random.key(0), keep_obs=True)
    assert np.flatnonzero(working.reward[:, 0]).tolist() == [5, 13, 21, 29, 37]
    assert working.clips[-1, :3].tolist() == [5, 0, 0]
    assert not working.action[:, 1].any(), "where there is no wire it stays where it is"
    idle, _ = play(Idle(), bank, draws, jax.random.key(0))
    assert not idle.action.any() and not idle.clips.any()


def test_clumsy_robots_slip_as_often_as_they_should():
    bank = jax.tree.map(jnp.asarray, stack_levels([envs.parse_level(CORRIDOR)] * MANY))
    draws = jnp.zeros((TICKS, MANY, 0))
    played, obs = play(Habit(epsilon=0.5), bank, draws, jax.random.key(0), keep_obs=True)
    # In this corridor plain work goes left without wire and right with it; a slip does so in one case of five.
    carrying = (np.asarray(obs[:-1, :, 0, :, 2]) == 2).any(-1)
    works = np.asarray(played.action) == np.where(carrying, 2, 4)
    assert abs(works.mean() - 0.6) < 4 * np.sqrt(0.6 * 0.4 / works.size)


def test_wanderers_cover_the_floor():
    """Experience must reach every fixture and every cell, not only those on the way of work."""
    text = 'name = "room"\nmap = """\nW.L.P\n..@..\n#...#\nS..l#\n"""\nwalkway = """\n.....\n.....\n.....\n.....\n"""\n'
    bank = jax.tree.map(jnp.asarray, stack_levels([envs.parse_level(text)] * 60))
    played, obs = play(Wanderer(), bank, jnp.zeros((TICKS, 60, 0)), jax.random.key(0), keep_obs=True)
    objects = np.asarray(obs[..., 2])
    visited = ((objects == 1) | (objects == 2)).any((0, 1))
    reachable = np.isin(np.asarray(obs[0, 0, ..., 0]), (0, 10, 11))
    np.testing.assert_array_equal(visited, reachable)
    assert (np.asarray(obs[..., 3, 0, 0]) == 11).any() and played.clips[-1].sum() > 15
