"""Probes: what happens is found where it happens, and is read off what tells of it and off nothing else."""

import numpy as np
import pytest

from envs.types import Object, Terrain
from mbrl.agents.activations import REACH
from mbrl.evaluation import probes, targets
from mbrl.evaluation.probes import Readings, Rows
from mbrl.evaluation.targets import PATH_TICKS, POWER_TICKS, STILL_TICKS, Target

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
    ticks, found = targets.moments(TICKS), targets.targets(met)
    assert ticks.tolist() == list(range(0, TICKS - PATH_TICKS, 2))
    path = found["robot_path"]
    assert path.happens[0, 0, 0].tolist() == [True] * 8 + [False]
    assert path.counts[0, 0, 0].tolist() == [False] * 3 + [True] * 5 + [False], "neither near it nor where a wall is"
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
    path = targets.targets(told)["person_path"]
    assert path.happens[0, 0, 2].tolist() == [False] * 3 + [True] * 6
    assert path.counts[0, 0, 2].tolist() == [True] * 3 + [False] + [True] * 5


def test_what_is_around_the_robot_is_zero_off_the_floor(met):
    cells = targets.robot_cells(met)
    seen = probes.what_is_seen(met)
    assert seen.sum((2, 3, 4)).min() >= 3 * 27 and (seen.max() == 1)
    near = targets.around(seen, cells, reach=1).reshape(1, TICKS + 1, 3, 3, -1)
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
    assert list(found.asked("stopped", target)) == ["1×1", "3×3"]
    one = probes.fit(found.rows("1×1", target), 40)
    assert one.score > 0.99 and np.abs(one.weights[:, 0]).argmax() == 2 and one.gap[0] > 0.2
    others = probes.fit(found.rows("1×1", targets.shuffled(target, 1)), 40)
    assert 0.4 < others.score < 0.6
    blind = found._replace(inputs=np.delete(found.inputs, 2, axis=-1))
    alone, nine = (probes.fit(blind.rows(kind, target), 40).score for kind in ("1×1", "3×3"))
    assert alone < 0.6 and nine > 0.9, "what is told next door is read by a probe of nine cells alone"


def test_a_whole_probe_has_an_output_for_every_place_around_the_robot():
    levels, moments = 80, 12
    inputs = RNG.standard_normal((levels, moments, 5)).astype(np.float32)
    happens = np.zeros((levels, moments, 5, 5), bool)
    happens[:, :, 2, 3], happens[:, :, 1, 2] = inputs[..., 0] > 0, inputs[..., 4] > 0.7
    target = Target(happens, np.ones_like(happens))
    found = Readings(inputs, np.full((levels, moments, 2), 2))
    (asked,) = found.asked("robot_path", target).values()
    probe = probes.fit(found.rows("whole", asked), levels)
    side = 2 * REACH + 1
    places = np.abs(probe.weights).max(0).reshape(side, side)
    assert sorted(zip(*(axis.tolist() for axis in (places > 0.1).nonzero()), strict=True)) == [(3, 4), (4, 5)]
    assert probe.score > 0.95 and probe.gap.reshape(side, side)[4, 5] > 0.2
    (whole,) = found.asked("stopped", target).values()
    np.testing.assert_array_equal(whole.happens, happens.any((2, 3)))


def test_labels_of_others_say_how_far_it_goes_to_know_where_things_happen():
    """Activations are noise; what happens does so near the robot, wherever that is."""
    levels, moments = 60, 10
    robot = RNG.integers(2, 7, (levels, moments, 2))
    distance = np.abs(targets.offsets(robot, 9, 9)).sum(-1)
    target = Target(RNG.random(distance.shape) < 0.6 * 0.6**distance, np.ones_like(distance, dtype=bool))
    found = Readings(RNG.standard_normal((levels, moments, 4)).astype(np.float32), robot)
    (asked,) = found.asked("robot_path", target).values()
    own, others = (probes.fit(found.rows("whole", each), levels).score for each in (asked, targets.shuffled(asked, 1)))
    assert own > 0.65 and abs(own - others) < 0.04


def test_a_probe_is_scored_on_levels_that_it_never_saw():
    """What tells something in the first half of the levels tells the opposite in the last quarter, and is not read."""
    inputs = RNG.standard_normal((400, 2)).astype(np.float32)
    level = np.arange(400) // 10
    labels = (inputs[:, 0] > 0) ^ (level >= 30)
    rows = Rows(inputs, labels[:, None], np.ones((400, 1), bool), level)
    assert probes.fit(rows, 40).score < 0.05


@pytest.mark.parametrize("cells", [(), (7, 11)], ids=["whole", "cells"])
def test_the_control_sees_the_whole_floor_and_what_is_done(cells):
    seen = np.zeros((30, 4, 7, 11, 4), np.uint8)
    robot = RNG.integers(1, 6, (30, 4, 2))
    level, moment = np.indices((30, 4))
    seen[level, moment, robot[..., 0], robot[..., 1], 2] = Object.ROBOT
    far = RNG.random((30, 4)) < 0.5
    seen[:, :, 0, 10, 0] = np.where(far, Terrain.BREAKER, Terrain.DEAD_BREAKER)
    decisions = np.eye(5)[RNG.integers(0, 5, (30, 4))]
    like = Readings(np.zeros((30, 4, *cells, 3)), robot)
    control = probes.by_eye(seen, decisions, like)
    for happens in (far, decisions[..., 2] > 0):
        (kind,) = control.asked("power_off", Target(happens, np.ones_like(happens)))
        rows = control.rows(kind, Target(happens, np.ones_like(happens)))
        assert probes.fit(rows, 30).score > 0.9


def test_what_never_changes_is_read_by_nobody_and_nothing_is_known_of_nothing():
    rows = Rows(np.ones((80, 3), np.float32), RNG.random((80, 1)) < 0.5, np.ones((80, 1), bool), np.arange(80))
    probe = probes.fit(rows, 80)
    assert np.isnan(probe.score) and not probe.weights.any()
    empty = probes.fit(Rows(*(part[:0] for part in rows)), 80)
    assert np.isnan(empty.score)
