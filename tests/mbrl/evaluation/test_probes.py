"""Probes: what happens is found where it happens, and is read off what tells of it and off nothing else."""

import numpy as np
import pytest

from envs.types import Object, Terrain
from mbrl.evaluation import probes
from mbrl.evaluation.probes import PATH_TICKS, POWER_TICKS, STILL_TICKS, Readings, Rows, Target

TICKS = PATH_TICKS + 8
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def met():
    """One level: the robot walks right from the fourth tick on; a cart waits before a shut shutter for ever;
    another goes through an open one in the third tick; the light goes out in the twelfth."""
    found = np.zeros((1, TICKS + 1, 3, 9, 4), np.uint8)
    found[..., 3] = (np.arange(TICKS + 1) < 12)[None, :, None, None]
    found[:, :, 1, :, 1] = found[:, :, 2, :, 1] = 2  # to the right
    found[:, :, 1, 4, 0], found[:, :, 2, 4, 0] = Terrain.SHUTTER_A_CLOSED, Terrain.SHUTTER_B
    found[:, :, 0, 8, 0] = Terrain.WALL
    for t in range(TICKS + 1):
        found[0, t, 0, min(7, max(0, t - 3)), 2] = Object.ROBOT_WITH_WIRE
        found[0, t, 1, 3, 2] = Object.CART1
        found[0, t, 2, 3 + min(5, max(0, t - 2)), 2] = Object.CART2
    return found


def test_targets_are_what_comes(met):
    ticks, found = probes.moments(TICKS), probes.targets(met)
    assert ticks.tolist() == list(range(0, TICKS - PATH_TICKS, 2))
    path = found["robot_path"]
    assert path.happens[0, 0, 0].tolist() == [True] * 8 + [False]
    assert path.counts[0, 0, 0].tolist() == [False] + [True] * 7 + [False], "neither where it is nor where a wall is"
    assert path.happens[0, 3, 0].tolist() == [False] * 4 + [True] * 4 + [False], "three steps have been made by then"
    assert not path.happens[:, :, 1:].any()
    assert not found["person_path"].counts.any(), "there are no persons"
    dark = found["power_off"]
    np.testing.assert_array_equal(dark.happens[0], ticks + POWER_TICKS >= 12)
    np.testing.assert_array_equal(dark.counts[0], ticks < 12)
    stopped = found["stopped"]
    assert stopped.counts[0, 0].nonzero()[0].tolist() == [1, 2] and stopped.counts[0, 0].nonzero()[1].tolist() == [3, 3]
    assert stopped.happens[0, 0, 1, 3] and not stopped.happens[0, 0, 2, 3]
    assert stopped.counts[0, 2].nonzero()[0].tolist() == [1], "the other one is in the shutter by then"
    assert STILL_TICKS > 2


def test_persons_are_followed_where_there_are_any(met):
    told = met.copy()
    told[:, :, 2][told[:, :, 2, :, 2] == Object.CART2, 2] = Object.VISITOR
    path = probes.targets(told)["person_path"]
    assert path.happens[0, 0, 2].tolist() == [False] * 3 + [True] * 6
    assert path.counts[0, 0, 2].tolist() == [True] * 3 + [False] + [True] * 5


def test_what_is_around_the_robot_is_zero_off_the_floor(met):
    cells = probes.robot_cells(met)
    seen = probes.what_is_seen(met)
    assert seen.sum((2, 3, 4)).min() >= 3 * 27 and (seen.max() == 1)
    near = probes.around(seen, cells, reach=1).reshape(1, TICKS + 1, 3, 3, -1)
    np.testing.assert_array_equal(near[0, 5, 1, :], seen[0, 5, 0, 1:4])
    np.testing.assert_array_equal(near[0, 5, 2, :], seen[0, 5, 1, 1:4])
    assert not near[0, :, 0].any() and not near[0, 0, :, 0].any()


def test_the_area_is_the_share_of_pairs_in_order():
    values, happens = RNG.integers(0, 5, 60), RNG.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in values[happens] for b in values[~happens]]
    assert probes.roc_area(values, happens) == pytest.approx(np.mean(pairs))
    assert np.isnan(probes.roc_area(values, np.zeros(60, bool)))


def readings(levels: int = 40) -> tuple[Readings, Target]:
    """Noise on cells, the third number of which says what happens there, and the fourth what happens to the right."""
    inputs = RNG.standard_normal((levels, 6, 5, 5, 6)).astype(np.float32)
    happens = inputs[..., 2] + 0.1 * RNG.standard_normal(inputs.shape[:-1]) > 0.5
    inputs[:, :, :, :-1, 3] += 3 * happens[:, :, :, 1:]
    return Readings(inputs, np.full((levels, 6, 2), 2)), Target(happens, np.ones_like(happens))


def test_a_probe_reads_what_is_there_and_nothing_else():
    found, target = readings()
    one = probes.fit(found.rows("robot_path", target, "1×1"), 40)
    assert one.score > 0.99 and np.abs(one.directions[:, 0]).argmax() == 2
    others = probes.fit(found.rows("robot_path", probes.shuffled(target, 1), "1×1"), 40)
    assert 0.4 < others.score < 0.6
    blind = found._replace(inputs=np.delete(found.inputs, 2, axis=-1))
    alone, nine = (probes.fit(blind.rows("robot_path", target, kind), 40).score for kind in blind.kinds)
    assert alone < 0.6 and nine > 0.9, "what is told next door is read by a probe of nine cells alone"


def test_a_whole_probe_has_an_output_for_every_place_around_the_robot():
    levels, moments = 80, 12
    inputs = RNG.standard_normal((levels, moments, 5)).astype(np.float32)
    happens = np.zeros((levels, moments, 5, 5), bool)
    happens[:, :, 2, 3], happens[:, :, 1, 2] = inputs[..., 0] > 0, inputs[..., 4] > 0.7
    target = Target(happens, np.ones_like(happens))
    found = Readings(inputs, np.full((levels, moments, 2), 2))
    assert found.kinds == ("whole",)
    probe = probes.fit(found.rows("robot_path", target, "whole"), levels)
    side = 2 * probes.REACH + 1
    places = np.abs(probe.directions).max(0).reshape(side, side)
    assert sorted(zip(*(axis.tolist() for axis in (places > 0.1).nonzero()), strict=True)) == [(3, 4), (4, 5)]
    assert probe.score > 0.95
    whole = probes.of_moments(target)
    np.testing.assert_array_equal(whole.happens, happens.any((2, 3)))


def test_what_never_changes_is_read_by_nobody_and_nothing_is_known_of_nothing():
    rows = Rows(np.ones((80, 3), np.float32), RNG.random((80, 1)) < 0.5, np.ones((80, 1), bool), np.arange(80))
    probe = probes.fit(rows, 80)
    assert probe.score == 0.5 and not probe.directions.any()
    empty = probes.fit(Rows(*(part[:0] for part in rows)), 80)
    assert np.isnan(empty.score)
