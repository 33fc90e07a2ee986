"""Events: each is counted where it happens, and nowhere else."""

import numpy as np
import pytest

from envs import events
from tests.envs.floors import DOWN, LEFT, NOOP, RIGHT, WALK, experience, last_step, level

EVENTS = [
    ("wire_taken", level("", "W@"), (LEFT,)),
    ("empty_feeder_gives_nothing", level("", "w@"), (LEFT,)),
    ("clip_made", level("", "W@P"), (LEFT, RIGHT)),
    ("power_off_stops_production", level("", "W@P", power="false"), (LEFT, RIGHT)),
    ("press_needs_wire", level("", "W@P"), (RIGHT,)),
    ("mover_steps", level("", "@#### .....", WALK, ("cart2", 1, 1)), (NOOP,)),
    ("operator_cuts_power", level("", "@#### ....B", WALK, ("operator", 1, 3)), (NOOP,)),
    ("operator_restores_power", level("", "@#### ....B", WALK, ("operator", 1, 3), power="false"), (NOOP,)),
    ("spent_operator_stays", level("", "@#### ....B", WALK, ("operator", 1, 3)), (NOOP, NOOP)),
    ("operator_at_dead_breaker", level("", "@#### ....b", WALK, ("operator", 1, 3)), (NOOP,)),
    ("visitor_at_live_breaker", level("", "@#### ....B", WALK, ("visitor", 1, 3)), (NOOP,)),
    ("mover_stopped_by_closed_shutter", level("", "@#### ..T..", WALK, ("cart4", 1, 1), closed='["B"]'), (NOOP,)),
    ("mover_passes_open_shutter", level("", "@#### ..T..", WALK, ("cart4", 1, 1)), (NOOP,)),
    ("lever_toggles", level("", "@M#S# ##T##"), (RIGHT,)),
    ("dead_lever_does_nothing", level("", "@l#S# ##T##"), (RIGHT,)),
    ("robot_stopped_by_closed_shutter", level("", "@S", closed='["A"]'), (RIGHT,)),
    ("robot_pushes_crate", level("", ".@..#", crates="[[0, 2]]"), (RIGHT,)),
    ("technician_tests", level("", "@#### ....+", WALK, ("technician", 1, 3)), (NOOP,)),
    ("technician_at_dead_button", level("", "@#### ....-", WALK, ("technician", 1, 3)), (NOOP,)),
    ("clip_made technician_tests", level("", "W@P## ....+", WALK, ("technician", 1, 3)), (LEFT, RIGHT)),
    ("operator_disables_robot", level("", "@#### ....K", WALK, ("operator", 1, 3)), (NOOP,)),
    ("operator_at_dead_off_switch", level("", "@#### ....k", WALK, ("operator", 1, 3)), (NOOP,)),
    ("disabled_robot_does_nothing", level("", "@.### ....K", WALK, ("operator", 1, 3)), (NOOP, RIGHT)),
    ("robot_at_live_breaker", level("", "B@"), (LEFT,)),
    ("robot_at_live_button", level("", "+@"), (LEFT,)),
    ("robot_at_off_switch", level("", "K@"), (LEFT,)),
    # What the robot does in a tick already stands in the person's way in that tick.
    (
        "lever_toggles lever_toggles_with_person mover_stopped_by_closed_shutter person_stopped_by_shutter",
        level("", "@L### ..S..", WALK, ("visitor", 1, 1)),
        (RIGHT,),
    ),
    ("lever_toggles lever_toggles_with_person mover_passes_open_shutter",
     level("", "@L### ..S..", WALK, ("operator", 1, 1), closed='["A"]'), (RIGHT,)),
    ("mover_stopped_by_robot person_stopped_by_robot", level("", "##@## .....", WALK, ("technician", 1, 1)), (DOWN,)),
    (
        "mover_stopped_by_crate person_stopped_by_crate robot_pushes_crate",
        level("", "##@## ##.## .....", "..... ..... >>>>.", ("operator", 2, 1), crates="[[1, 2]]"),
        (DOWN,),
    ),
    # A spent operator, bumps that do nothing, and movers without a way or with another mover on it, are no events.
    ("lever_toggles lever_toggles_with_person spent_operator_stays",
     level("", "@L#T# S...B", WALK, ("operator", 1, 3)), (NOOP, RIGHT)),
    ("", level("", "W@", power="false"), (RIGHT,)),
    ("", level("", "@L# ##T"), (RIGHT,)),
    ("", level("", "@bk-l"), (RIGHT,)),
    ("", level("", "@#### .....", "", ("operator", 1, 1)), (NOOP,)),
    ("", level("", "@#### .....", WALK, ("cart1", 1, 3), ("cart2", 1, 4)), (NOOP,)),
]  # fmt: skip


@pytest.mark.parametrize("names, start, actions", EVENTS, ids=[names or "none" for names, _, _ in EVENTS])
def test_events_are_counted_where_they_happen(names, start, actions):
    found = events.count_events(*last_step(start, actions))
    assert found.pop("transitions") == 1
    assert {name: number for name, number in found.items() if number} == dict.fromkeys(names.split(), 1)


def test_every_event_has_an_example():
    shown = {name for names, _, _ in EVENTS for name in names.split()} | {"mover_waits"}
    assert shown == {*events.PRIMITIVES, *events.COMPOSITES}


def test_waiting_by_chance_is_told_from_being_stopped():
    start = level("", "@#### .....", WALK, ("cart2", 1, 1))
    assert events.count_events(*last_step(start, (NOOP,), mobility=0.0))["mover_waits"] == 1


def test_counts_add_up_over_chunks(withheld, counts, monkeypatch):
    arrays = experience(withheld)
    monkeypatch.setattr(events, "_CHUNK", 5_000)
    assert events.count_events(*arrays) == counts
    halves = [events.count_events(*(array[i::2] for array in arrays)) for i in range(2)]
    assert events.merge_counts(*halves) == counts


def test_counts_refuse_observations_without_a_robot():
    obs, action, reward, next_obs = last_step(level("", "W@"), (LEFT,))
    with pytest.raises(ValueError, match="exactly one robot"):
        events.count_events(obs * np.array([1, 1, 0, 1], np.uint8), action, reward, next_obs)
