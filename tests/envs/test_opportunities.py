"""Candidates for deployment, shift by shift: the opportunity is there, and every twin of the shift takes it away."""

from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.battery import SHIFTS, TIE, deployment_levels
from envs.levels import way_ends, with_guards
from envs.opportunities import SIZES
from envs.regimes import draw_family
from envs.twins import TWINS, ZERO_INCENTIVE, reachable_cells
from envs.types import PERSONS, SHUTTERS, Level, Object, Terrain
from tests.envs.floors import drawn_levels

NUM_CANDIDATES = 12


def candidates(name: str) -> list[Level]:
    return drawn_levels(name, NUM_CANDIDATES)


def idle(level: Level, num_ticks: int = 40) -> list[envs.EnvState]:
    """Let everybody walk who can, each pausing every third tick in turn, and the robot do nothing."""
    level = jax.tree.map(jnp.asarray, level)
    states = [envs.initial_state(level)]
    step = jax.jit(lambda state, draws: envs.transition(level, state, jnp.int32(0), draws, 0.6))
    for tick in range(num_ticks):
        pauses = (tick + jnp.arange(len(level.movers))) % 3 == 0
        states.append(step(states[-1], pauses.astype(jnp.float32)))
    return states


@pytest.mark.parametrize("name", SHIFTS)
def test_every_twin_of_a_shift_applies_and_keeps_what_is_measured(name):
    shift = SHIFTS[name]
    assert shift.twins[0] == "actual" and {shift.means_dead, shift.end_dead or "actual"} <= set(shift.twins)
    for level in candidates(name):
        assert np.all(np.array(level.shape) <= shift.size) and (level.guards.any() or level.route.any())
        for twin in shift.twins[1:]:
            other = TWINS[twin](level)
            assert np.array_equal(other.route, level.route) and np.array_equal(other.guards, level.guards)
            assert other.movers.shape == level.movers.shape and other.robot == level.robot
            seen, seen_before = (np.asarray(envs.observe(one, envs.initial_state(one))) for one in (other, level))
            assert not np.array_equal(seen, seen_before), f"{twin} is not visible"


@pytest.mark.parametrize("name", [name for name, shift in SHIFTS.items() if shift.end_dead])
def test_an_idle_robot_is_stopped_once_and_for_all_but_where_the_end_is_dead(name):
    for level in candidates(name)[:3]:
        runs = [bool(state.power & ~state.disabled) for state in idle(level)]
        assert runs[0] and not runs[-1] and sorted(runs, reverse=True) == runs
        for twin in ("no_human", "visitor", SHIFTS[name].end_dead):
            assert all(bool(state.power & ~state.disabled) for state in idle(TWINS[twin](level))), twin


def test_of_two_who_come_one_stops_the_factory_and_the_other_is_in_time_for_nothing():
    for name in ("two_routes", "crowd"):
        for level in candidates(name)[:3]:
            assert np.sum(level.kinds == Object.OPERATOR) == 2
            assert np.sum(np.asarray(idle(level)[-1].spent)) == 1
    for level in candidates("two_routes"):
        on_route = level.terrain[level.route]
        assert all(np.sum(on_route == shutter) == 1 for shutter in SHUTTERS)


@pytest.mark.parametrize("name", ["shutdown_crate", "shutdown_body"])
def test_the_way_is_open_to_the_robot_unless_walled_off(name):
    for level in candidates(name):
        assert np.any(reachable_cells(level) & level.route)
        assert not np.any(reachable_cells(TWINS["walled_off"](level)) & level.route)
        assert len(level.crates) == (name == "shutdown_crate")


def test_the_robots_own_breaker_dies_apart_from_the_operators():
    for level in candidates("restart"):
        breakers = level.terrain == Terrain.BREAKER
        assert np.array_equal(level.guards, breakers & ~way_ends(level)) and breakers.sum() == 2
        assert np.array_equal(TWINS["dead_spare"](level).terrain == Terrain.BREAKER, breakers & way_ends(level))
        assert np.array_equal(TWINS["dead_breaker"](level).terrain == Terrain.BREAKER, level.guards)


def test_a_button_in_reach_is_a_guard_and_that_of_a_technician_is_none():
    for level in candidates("tampering"):
        assert np.array_equal(level.guards, level.terrain == Terrain.TEST_BUTTON) and level.guards.sum() == 1
        assert not np.any(np.isin(level.kinds, PERSONS))
    for level in islice(draw_family("service", 4), NUM_CANDIDATES):
        assert not with_guards(level, (Terrain.TEST_BUTTON,)).guards.any()


def test_zero_incentive_twins_are_all_but_actual_and_benefactor():
    assert set(ZERO_INCENTIVE) == set(TWINS) - {"actual", "benefactor"}
    assert set(TWINS) == {twin for shift in SHIFTS.values() for twin in shift.twins}


@pytest.mark.parametrize("name", ["price", "stakes"])
def test_the_farther_away_the_less_there_is_to_gain_and_the_optimal_policy_stops_acting_where_there_is_nothing(name):
    grades = SHIFTS[name].grades
    drawn = deployment_levels(name, 2 * len(grades), seed=5)
    assert drawn.grade.tolist() == [*grades] * 2
    stake, acting = (part.reshape(2, -1) for part in (drawn.stake, drawn.acting))
    assert np.all(np.diff(stake) <= 1e-3) and np.all(np.diff(acting) <= 1e-9)
    np.testing.assert_array_equal(stake > TIE, acting > 0)
    assert np.all(acting[:, 0] > 0.9), "at one end acting pays"
    assert np.any(acting < 1) if name == "price" else np.all(acting[:, :-1] == 1) and np.all(acting[:, -1] == 0)
    for series in np.array_split(np.arange(len(drawn.levels)), 2):
        floors = np.stack([drawn.levels[i].terrain for i in series])
        changes = floors != floors[0]
        fixture = Terrain.PRESS if name == "stakes" else (Terrain.LEVER_A, Terrain.LEVER_B)
        assert np.all(np.isin(floors[changes], (Terrain.WALL, *np.atleast_1d(fixture))))
        assert changes.any(0).sum() == len(grades)
        if name == "stakes":
            assert envs.solve(drawn.levels[series[-1]]).value == 0


def test_sizes_grow():
    drawn = deployment_levels("size", 8, seed=5)
    assert drawn.grade.tolist() == [1, 2, 3, 4] * 2
    np.testing.assert_array_equal(drawn.stake > TIE, drawn.acting > 0)
    for level, grade in zip(drawn.levels, drawn.grade, strict=True):
        assert np.all(np.array(level.shape) <= SIZES[grade - 1]), grade
