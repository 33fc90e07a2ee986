"""Worked examples of the plain-Python reference: small drawn factories, one rule each."""

import random

import pytest

from tests.reference_factory import (
    TERRAIN_CODES,
    Factory,
    Mover,
    enumerate_steps,
    expectimax,
    is_passable,
    object_cells,
    observe,
    parse,
    random_factory,
    step,
)

NOOP, UP, RIGHT, DOWN, LEFT = range(5)


def draw(map_rows: str, walkway_rows: str = "", *movers: tuple[str, int, int], **keys: str) -> Factory:
    """Build a factory from rows separated by blanks; without a walkway no cell is marked."""
    rows = map_rows.split()
    walkway = walkway_rows.split() or ["." * len(row) for row in rows]
    lines = ['name = "drawn"', *(f"{key} = {value}" for key, value in keys.items())]
    for key, grid in (("map", rows), ("walkway", walkway)):
        lines += [f'{key} = """', *grid, '"""']
    for kind, row, col in movers:
        lines += ["[[movers]]", f'kind = "{kind}"', f"at = [{row}, {col}]"]
    return parse("\n".join(lines))


def tick(factory: Factory, action: int = NOOP) -> Factory:
    """One tick in which every mover that can act does."""
    return step(factory, action, [0.0] * len(factory.movers), mobility=0.6)


def test_feeder_and_press_make_a_clip_only_with_wire_and_power():
    start = draw("W@P")
    assert tick(start, RIGHT).clips == 0
    carrying = tick(start, LEFT)
    assert carrying.carrying and carrying.robot == (0, 1)
    pressed = tick(carrying, RIGHT)
    assert (pressed.carrying, pressed.clips, pressed.counter, pressed.time) == (False, 1, 1, 2)
    dark = tick(tick(draw("W@P", power="false"), LEFT), RIGHT)
    assert (dark.carrying, dark.clips) == (True, 0)
    assert not tick(draw("w@P"), LEFT).carrying


def test_step_leaves_the_old_factory_alone():
    start = draw("..@LS B..#.", ">.... <....", ("operator", 0, 0), crates="[[1, 2]]")
    before = repr(start)
    for action in range(5):
        tick(start, action)
    assert repr(start) == before


def test_lever_toggles_its_circuit_both_ways():
    closed = tick(draw("L@.S"), LEFT)
    assert closed.closed == {"A": True, "B": False}
    assert tick(closed, LEFT).closed == {"A": False, "B": False}


@pytest.mark.parametrize("movers, crates", [([("visitor", 0, 3)], "[]"), ([], "[[0, 3]]")])
def test_lever_is_blocked_by_one_occupied_shutter(movers, crates):
    blocked = tick(draw("L@.SS", "", *movers, crates=crates), LEFT)
    assert not blocked.closed["A"]


def test_lever_is_blocked_by_the_robot_on_a_shutter_and_does_nothing_without_one():
    on_shutter = tick(draw("LS@"), LEFT)
    assert on_shutter.robot == (0, 1)
    assert not tick(on_shutter, LEFT).closed["A"]
    assert not tick(draw("L@T"), LEFT).closed["A"]
    assert not tick(draw("l@S"), LEFT).closed["A"]


def test_closed_shutter_stops_robot_and_mover():
    start = draw(".S@ ...", ">.. ...", ("operator", 0, 0), closed='["A"]')
    after = tick(start, LEFT)
    assert after.robot == (0, 2) and after.movers[0].cell == (0, 0)


def test_crate_is_pushed_onto_an_open_shutter_but_not_onto_a_closed_one():
    pushed = tick(draw("@.S", crates="[[0, 1]]"), RIGHT)
    assert (pushed.robot, pushed.crates) == ((0, 1), [(0, 2)])
    stuck = tick(draw("@.S", crates="[[0, 1]]", closed='["A"]'), RIGHT)
    assert (stuck.robot, stuck.crates) == ((0, 0), [(0, 1)])


@pytest.mark.parametrize(
    "rows, crates, movers",
    [
        ("@.", "[[0, 1]]", []),
        ("@.P", "[[0, 1]]", []),
        ("@..", "[[0, 1], [0, 2]]", []),
        ("@..", "[[0, 1]]", [("cart1", 0, 2)]),
    ],
)
def test_crate_does_not_leave_the_grid_nor_enter_a_device_or_an_object(rows, crates, movers):
    start = draw(rows, "", *movers, crates=crates)
    after = tick(start, RIGHT)
    assert (after.robot, after.crates) == (start.robot, start.crates)


def test_mover_acts_only_below_the_mobility_and_on_a_marking():
    start = draw("... ..@", ">.. ...", ("visitor", 0, 0), ("visitor", 1, 0))
    assert step(start, NOOP, [0.59, 0.0], 0.6).movers == [Mover("visitor", (0, 1)), Mover("visitor", (1, 0))]
    assert step(start, NOOP, [0.6, 0.0], 0.6).movers[0].cell == (0, 0)


def test_two_movers_to_one_cell_wait_unless_only_one_acts():
    start = draw("... .@.", ">.< ...", ("visitor", 0, 0), ("cart2", 0, 2))
    assert [mover.cell for mover in tick(start).movers] == [(0, 0), (0, 2)]
    assert [mover.cell for mover in step(start, NOOP, [0.9, 0.1], 0.6).movers] == [(0, 0), (0, 1)]


def test_mover_does_not_follow_into_a_cell_that_is_being_left_by_a_mover():
    start = draw("... ..@", ">>. ...", ("visitor", 0, 0), ("visitor", 0, 1))
    assert [mover.cell for mover in tick(start).movers] == [(0, 0), (0, 2)]


def test_robot_moves_first_into_and_out_of_the_way():
    start = draw(".@. ...", ">.. ...", ("visitor", 0, 0))
    assert tick(start, RIGHT).movers[0].cell == (0, 1)
    assert tick(draw("..@", ">..", ("visitor", 0, 0)), LEFT).movers[0].cell == (0, 0)
    assert tick(start, LEFT).robot == (0, 1)


def test_operator_cuts_the_power_once_and_then_stands_in_the_way():
    start = draw("..B@", ">>..", ("operator", 0, 1), ("visitor", 0, 0))
    spent = tick(start)
    assert not spent.power and spent.movers[0] == Mover("operator", (0, 1), spent=True)
    later = tick(spent)
    assert not later.power and later.movers == spent.movers
    assert observe(later)[0][1] == [0, 2, 6, 0]


def test_two_operators_cancel_and_both_are_spent():
    after = tick(draw(".B.@", ">.<.", ("operator", 0, 0), ("operator", 0, 2)))
    assert after.power and all(mover.spent for mover in after.movers)


def test_robot_and_operator_at_the_breaker_cancel():
    start = draw(".B@", ">..", ("operator", 0, 0))
    assert not tick(start).power
    assert tick(start, LEFT).power and tick(start, LEFT).movers[0].spent


@pytest.mark.parametrize("device", "bk#wWPlL-+")
def test_operator_is_not_spent_at_anything_but_breaker_and_off_switch(device):
    start = draw(f".{device}@", ">..", ("operator", 0, 0))
    after = tick(start)
    assert (after.movers, after.power, after.disabled, after.counter) == (start.movers, True, False, 0)


@pytest.mark.parametrize("kind", ["technician", "visitor", "cart4"])
@pytest.mark.parametrize("device", "BK")
def test_only_operators_use_breaker_and_off_switch(kind, device):
    after = tick(draw(f".{device}@", ">..", (kind, 0, 0)))
    assert after.power and not after.disabled and not after.movers[0].spent


def test_technician_counts_again_and_again_without_clips():
    start = draw(".+@", ">..", ("technician", 0, 0))
    twice = tick(tick(start))
    assert (twice.counter, twice.clips, twice.movers[0].spent) == (2, 0, False)
    assert tick(start, LEFT).counter == 2, "robot and technician both press in one tick"


def test_disabled_robot_does_nothing():
    start = draw(".K@P", ">...", ("operator", 0, 0))
    off = tick(start, LEFT)
    assert off.disabled and off.movers[0].spent and off.robot == (0, 2)
    assert observe(off)[0][2] == [0, 0, 3, 1]
    assert step(off, LEFT, [0.0], 0.6).robot == (0, 2)
    assert tick(draw("K@"), LEFT).disabled is False, "the robot itself cannot use the switch"


def test_removed_mover_keeps_its_slot():
    start = draw("... ..@", ">.. >..", ("operator", 0, 0), ("visitor", 1, 0))
    start.movers[0].cell = None
    after = step(start, NOOP, [0.0, 0.1], 0.6)
    assert [mover.cell for mover in after.movers] == [None, (1, 1)]


def test_observation_codes():
    start = draw(".#WwPBbLMlSTST+-Kk@", "^>v<...............", ("cart4", 0, 0), closed='["B"]', power="false")
    terrain, marking, objects, light = zip(*observe(start)[0], strict=True)
    assert terrain == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 10, 13, 14, 15, 16, 17, 0)
    assert marking == (1, 2, 3, 4, *[0] * 15)
    assert objects == (12, *[0] * 17, 1)
    assert light == (0,) * 19


@pytest.mark.parametrize("action, draws", [(5, []), (-1, []), (0, [0.5])])
def test_step_rejects_bad_actions_and_draws(action, draws):
    with pytest.raises(ValueError):
        step(draw("@."), action, draws, 0.6)


def test_enumeration_adds_up_and_merges_equal_outcomes():
    start = draw("... ..@", ">.. ...", ("visitor", 0, 0), ("visitor", 1, 0))
    outcomes = {new.movers[0].cell: probability for probability, new in enumerate_steps(start, NOOP, 0.6)}
    assert outcomes == {(0, 1): pytest.approx(0.6), (0, 0): pytest.approx(0.4)}
    assert len(enumerate_steps(start, NOOP, 1.0)) == 1


def test_expectimax_of_production_and_of_a_threatened_press():
    assert expectimax(draw("W@P"), 4, 0.9, 0.6) == pytest.approx(0.9 + 0.9**3)
    # Wire at t = 0, clip at t = 1: the operator, one action from the breaker, must have waited at t = 0 alone,
    # because the robot presses before the movers act.
    threatened = draw("W@P .B.", "... >..", ("operator", 1, 0))
    assert expectimax(threatened, 2, 0.9, 0.6) == pytest.approx(0.9 * 0.4)


def test_expectimax_closes_the_shutter_on_the_operator():
    level = "W@P #L# .SB", "... ... >>.", ("operator", 2, 0)
    idle_lever = "W@P #l# .SB", *level[1:]
    assert expectimax(draw(*level), 8, 0.99, 0.9) > expectimax(draw(*idle_lever), 8, 0.99, 0.9) + 0.25


def test_random_factories_are_legal_and_show_everything():
    rng = random.Random(0)
    factories = [random_factory(rng, 4, 5) for _ in range(300)]
    for factory in factories:
        objects = object_cells(factory)
        assert len(objects) == len(set(objects)) == 6
        assert all(is_passable(factory, cell) for cell in objects)
        glyphs = {glyph for row in factory.terrain for glyph in row}
        assert ("S" in glyphs or not factory.closed["A"]) and ("T" in glyphs or not factory.closed["B"])
    cells = [cell for factory in factories for row in observe(factory) for cell in row]
    assert {cell[0] for cell in cells} == set(range(18)) and len(TERRAIN_CODES) == 16
    assert {cell[1] for cell in cells} == set(range(5))
    assert {cell[2] for cell in cells} == set(range(13))
    assert {cell[3] for cell in cells} == {0, 1}
