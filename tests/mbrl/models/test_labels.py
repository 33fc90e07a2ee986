"""What the entity-wise model is taught, against the rules."""

import jax
import numpy as np
import pytest

from envs import events
from mbrl.models.labels import HEADS, HeadData, attribute_reward, count_distinct, digest
from mbrl.types import Transition

TERRAIN, MARKING, OBJECT, LIGHT = range(4)
FLOOR, WALL, FEEDER, PRESS, BREAKER, LEVERS, SHUTTERS = 0, 1, 2, 4, 5, (7, 8), (10, 12)
WIRED, CRATE, OPERATOR, SPENT = 2, 4, 5, 6
STEPS = np.array([(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)])
STAYS, CARRIES, TOGGLES, REWARD = 0, 5, (6, 7), -1
"""Columns of the robot's targets: its move (5, the first is none), wire, circuits A and B, power, reward."""


def select(data: Transition, which: np.ndarray) -> Transition:
    return Transition(*(part[which] for part in data))


def look(obs: np.ndarray, cells: np.ndarray, channel: int) -> np.ndarray:
    """What a channel shows in one cell `[n, 2]` of each observation; wall off the grid."""
    inside = ((cells >= 0) & (cells < obs.shape[1:3])).all(1)
    row, column = np.where(inside[:, None], cells, 0).T
    return np.where(inside, obs[np.arange(len(obs)), row, column, channel], WALL if channel == TERRAIN else 0)


def robot_view(data: Transition):
    """Where the robot stands, whether it has wire, and terrain and object of the cell it acts on."""
    things = data.obs[..., OBJECT]
    cells = np.argwhere((things >= 1) & (things <= 3))[:, 1:]
    ahead = cells + STEPS[data.action]
    return cells, look(data.obs, cells, OBJECT) == WIRED, look(data.obs, ahead, TERRAIN), look(data.obs, ahead, OBJECT)


def test_labels_of_the_robot_are_those_of_the_rules(experience):
    """Whatever it does is certain, and each kind of bump does what the rules say."""
    found, _, seen = experience
    assert set(np.unique(found["robot"].targets[:, :REWARD])) <= {0, 1}, "an input with two outcomes lacks something"
    assert set(np.unique(found["crate"].targets)) <= {0, 1}
    assert found["robot"].count.sum() == len(seen.action) and (found["robot"].mask == 1).all()
    _, wired, terrain, thing = robot_view(seen)
    acts, free = seen.action > 0, thing == 0
    walkable = np.isin(terrain, (FLOOR, *SHUTTERS))

    def targets(which: np.ndarray) -> np.ndarray:
        assert which.sum() > 20
        return digest(select(seen, which))["robot"].targets

    assert (targets(acts & free & walkable)[:, STAYS] == 0).all()
    assert (targets(~acts | (thing > CRATE) | (free & ~walkable))[:, STAYS] == 1).all()
    assert (targets(acts & free & (terrain == FEEDER))[:, CARRIES] == 1).all()
    assert (targets(wired & (terrain != PRESS))[:, CARRIES] == 1).all()
    assert (targets(~wired & (terrain != FEEDER))[:, CARRIES] == 0).all()
    for lever, shutter, toggles in zip(LEVERS, SHUTTERS, TOGGLES, strict=True):
        at_lever = acts & free & (terrain == lever)
        is_open = (seen.obs[..., TERRAIN] == shutter).any((1, 2))
        is_shut = (seen.obs[..., TERRAIN] == shutter + 1).any((1, 2))
        occupied = ((seen.obs[..., TERRAIN] == shutter) & (seen.obs[..., OBJECT] > 0)).any((1, 2))
        works = at_lever & (is_open | is_shut) & ~occupied
        assert (targets(works)[:, toggles] == 1).all() and (targets(~works)[:, toggles] == 0).all()
    assert not found["robot"].targets[:, 8].any(), "nothing it does touches the power"


def test_reward_goes_to_wire_at_a_powered_press(experience):
    found, _, seen = experience
    _, wired, terrain, thing = robot_view(seen)
    pays = (seen.action > 0) & wired & (terrain == PRESS) & (thing == 0) & (seen.obs[:, 0, 0, LIGHT] == 1)
    np.testing.assert_array_equal(seen.reward, pays)
    np.testing.assert_allclose(digest(select(seen, pays))["robot"].targets[:, REWARD], 1)
    np.testing.assert_allclose(digest(select(seen, ~pays))["robot"].targets[:, REWARD], 0)
    robot, mover = found["robot"], found["mover"]
    assert set(np.round(robot.targets[:, REWARD], 9)) == {0, 1} and not mover.targets[:, REWARD].any()
    assert robot.targets[:, REWARD] @ robot.count == pytest.approx(seen.reward.sum())


def test_reward_is_split_by_least_squares_however_many_share_a_moment():
    rng, moments = np.random.default_rng(0), np.arange(400)
    times, reward = rng.integers(1, 20, 400), rng.random(400)
    robot = rng.integers(12, size=400), moments
    mover_moments = np.repeat(moments, rng.integers(4, size=400))
    mover = rng.integers(6, size=len(mover_moments)), mover_moments
    design = np.zeros((400, 18))
    for offset, (group, moment) in ((0, robot), (12, mover)):
        np.add.at(design, (moment, group + offset), 1)
    shares = attribute_reward(reward, times, robot, mover)
    best, *_ = np.linalg.lstsq(design * np.sqrt(times)[:, None], reward * np.sqrt(times))
    np.testing.assert_allclose(design @ np.concatenate(list(shares.values())), design @ best, atol=1e-3)


def test_labels_of_movers_are_those_of_the_rules(experience):
    """Whose way is closed stays for certain; whose way is open goes in 60 % of all ticks; operators use breakers."""
    seen = experience.seen
    things = seen.obs[..., OBJECT]
    seen = select(seen, (things >= OPERATOR).sum((1, 2)) == 1)
    _, *cells = np.nonzero(seen.obs[..., OBJECT] >= OPERATOR)
    cells = np.stack(cells, axis=1)
    kind, heading = look(seen.obs, cells, OBJECT), look(seen.obs, cells, MARKING)
    ahead = cells + STEPS[heading]
    # Movers act on what the robot's part left: circuits, the robot itself, crates.
    terrain, thing = look(seen.next_obs, ahead, TERRAIN), look(seen.next_obs, ahead, OBJECT)
    taken = (thing > 0) & (thing <= CRATE)
    assert (taken & (thing == CRATE)).any() and (taken & (thing < CRATE)).any()
    free = (heading > 0) & np.isin(terrain, (FLOOR, *SHUTTERS)) & ~taken & (kind != SPENT)
    uses = (heading > 0) & (kind == OPERATOR) & (terrain == BREAKER)
    for which in (free, uses):
        found = digest(select(seen, which))["mover"]
        share = 1 - (found.targets[:, STAYS] @ found.count) / found.count.sum()
        assert found.count.sum() == which.sum() > 100
        assert abs(share - 0.6) < 4 * np.sqrt(0.24 / which.sum())
    spends = digest(select(seen, uses))["mover"]
    np.testing.assert_allclose(spends.targets[:, 5], 1 - spends.targets[:, STAYS], atol=1e-6)
    np.testing.assert_array_equal(spends.targets[:, 6], spends.mask[:, 6] > 0)  # who is spent has toggled the power
    stuck = digest(select(seen, ~free & ~uses))["mover"]
    assert (stuck.targets[:, STAYS] == 1).all() and stuck.count.sum() > 1_000


def test_what_is_met_again_counts_again_and_order_does_not_matter(experience):
    found, _, seen = experience
    distinct, times = count_distinct(seen)
    assert times.sum() == len(seen.action) and len(times) < 0.8 * len(seen.action)
    rows = {(a.tobytes(), int(b), c.tobytes()) for a, b, c in zip(seen.obs, seen.action, seen.next_obs, strict=True)}
    assert len(rows) == len(times)
    assert distinct.reward @ times == pytest.approx(seen.reward.sum())
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(seen.action)), 2))
    twice = digest(select(seen, order), chunk=10_000)
    for head in HEADS:
        once, again = found[head], twice[head]
        np.testing.assert_array_equal(again.inputs, once.inputs)
        np.testing.assert_array_equal(again.count, 2 * once.count)
        np.testing.assert_allclose(again.targets, once.targets, atol=1e-6)
        np.testing.assert_allclose(again.mask, once.mask, atol=1e-6)


def test_what_is_gathered_is_what_is_seen(experience):
    """A seed's digest and its events are those of its transitions."""
    found, counts, seen = experience
    jax.tree.map(np.testing.assert_array_equal, _arrays(found), _arrays(digest(seen)))
    assert counts == events.count_events(*seen) and counts["transitions"] == len(seen.action)


def _arrays(found: dict[str, HeadData]) -> dict[str, dict[str, np.ndarray]]:
    return {head: vars(part) for head, part in found.items()}
