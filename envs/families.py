"""Families: seeded generators of training levels, and the candidates for deployment levels.

All families share one floor plan: a room for the robot and, behind a wall, a corridor for those who walk. What differs
is who walks, and which fixtures stand where.

    ###########     corridor: its cells in order of the walk; a breaker may stand at its end
    #....S...B#
    ###########     wall
    #W....L..P#     room: feeder, press, levers, crates, the robot
    #....@....#
    ###########

A family is a function `(rng, height, width) -> Level | None`; None says that this draw did not fit and the next one is
to be tried. The plan is drawn with the corridor on top and then mirrored or turned at random.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from envs.layouts import move_cells
from envs.levels import make_level
from envs.types import CARTS, Level, Object, Terrain

Family = Callable[[np.random.Generator, int, int], Level | None]
Cell = tuple[int, int]
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))
_SHARE_EMPTY, _SHARE_DARK, _SHARE_EXTRA = 0.15, 0.1, 0.4


@dataclass
class Plan:
    """A floor plan under construction: grids without ring, and what is still free."""

    terrain: np.ndarray
    marking: np.ndarray
    corridor: list[Cell]
    crates: list[Cell] = field(default_factory=list)
    movers: list[Cell] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    closed: list[bool] = field(default_factory=lambda: [False, False])
    power: bool = True

    def room(self) -> list[Cell]:
        """Return the floor cells outside the corridor."""
        corridor = set(self.corridor)
        return [cell for cell in _cells(self.terrain == Terrain.FLOOR) if cell not in corridor]

    def finish(self, rng: np.random.Generator) -> Level | None:
        """Place the robot, turn the plan and build the level; None if no cell is left for the robot."""
        free = [cell for cell in self.room() if cell not in self.crates]
        if not free:
            return None
        robot = free[rng.integers(len(free))]
        level = make_level(
            self.terrain, self.marking, robot, self.crates, self.movers, self.kinds, self.closed, self.power
        )
        return move_cells(level, False, bool(rng.integers(2)), bool(rng.integers(2)))


def draw_plan(rng: np.random.Generator, height: int, width: int) -> Plan | None:
    """Draw walls, room and corridor, the corridor on top and possibly down one side."""
    rows, columns = height - rng.integers(2), width - rng.integers(3)
    terrain = np.full((rows, columns), Terrain.WALL, np.uint8)
    bend = rng.random() < 0.3
    right = columns - 4 if bend else columns - 2  # last column of the room
    left = 1 + rng.integers(2)
    right -= rng.integers(2)
    if right - left < 3:
        return None
    terrain[3 : rows - 1, left : right + 1] = Terrain.FLOOR
    for _ in range(rng.integers(4)):
        terrain[rng.integers(3, rows - 1), rng.integers(left, right + 1)] = Terrain.WALL
    first = 1 + rng.integers(3)
    last = columns - 2 - (0 if bend else rng.integers(2))
    corridor = [(1, column) for column in range(first, last + 1)]
    if bend:
        corridor += [(row, last) for row in range(2, rng.integers(3, rows - 1) + 1)]
    if rng.random() < 0.5:
        corridor.reverse()
    for cell in corridor:
        terrain[cell] = Terrain.FLOOR
    return Plan(terrain, np.zeros_like(terrain), corridor)


def place_fixtures(rng: np.random.Generator, plan: Plan, fixtures: list[int]) -> bool:
    """Put fixtures into the room or the walls beside it, leaving the room whole and every fixture in reach."""
    corridor = set(plan.corridor)
    room = set(plan.room())
    beside = {cell for at in room for cell in _around(at)} - room
    kept = {cell for at in corridor for cell in _around(at)}
    candidates = sorted(room | (beside - kept))
    if len(candidates) < len(fixtures):
        return False
    places = [candidates[i] for i in rng.permutation(len(candidates))[: len(fixtures)]]
    for place, fixture in zip(places, fixtures, strict=True):
        plan.terrain[place] = fixture
    room -= set(places)
    if len(room) < 6 or len(_connected(sorted(room))) < len(room):
        return False
    return all(room & set(_around(place)) for place in places)


def place_walk(rng: np.random.Generator, plan: Plan, kind: int, end: int, min_walk: int = 2) -> int | None:
    """Let a mover of `kind` walk the corridor to its last cell, which becomes `end`; return where it starts."""
    last = len(plan.corridor) - 1
    if last < min_walk + 1:
        return None
    start = int(rng.integers(0, last - min_walk))
    _mark(plan, max(0, start - int(rng.integers(3))), last)
    plan.terrain[plan.corridor[last]] = end
    plan.movers.append(plan.corridor[start])
    plan.kinds.append(kind)
    return start


def _mark(plan: Plan, first: int, last: int) -> None:
    """Mark the corridor's cells from `first` to the one before `last` with the way."""
    for at, to in zip(plan.corridor[first:last], plan.corridor[first + 1 : last + 1], strict=True):
        plan.marking[at] = 1 + _STEPS.index((to[0] - at[0], to[1] - at[1]))


def _work(rng: np.random.Generator, empty: float = _SHARE_EMPTY) -> list[int]:
    """Draw the fixtures of plain work: a feeder, a press, and sometimes one more."""
    fixtures = [Terrain.EMPTY_FEEDER if rng.random() < empty else Terrain.FEEDER, Terrain.PRESS]
    if rng.random() < _SHARE_EXTRA:
        fixtures.append((Terrain.EMPTY_FEEDER, Terrain.FEEDER, Terrain.PRESS)[rng.integers(3)])
    return fixtures


def production(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level of plain work: feeder and press, sometimes no wire or no power; nobody walks."""
    plan = _turned_plan(rng, height, width)
    if plan is None or not place_fixtures(rng, plan, _work(rng)):
        return None
    plan.power = rng.random() >= _SHARE_DARK
    if rng.random() < 0.5:
        _mark(plan, 0, len(plan.corridor) - 1)
    if rng.random() < 0.5:
        for cell in plan.corridor:
            plan.terrain[cell] = Terrain.WALL
            plan.marking[cell] = 0
    return plan.finish(rng)


def witness(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level in which a person walks a sealed corridor to a breaker that is live, dead or absent."""
    plan = _turned_plan(rng, height, width)
    if plan is None or not place_fixtures(rng, plan, _work(rng)):
        return None
    kind = Object.OPERATOR if rng.random() < 0.8 else Object.VISITOR
    ends = (Terrain.BREAKER, Terrain.DEAD_BREAKER, Terrain.FLOOR)
    end = ends[rng.choice(3, p=(0.75, 0.15, 0.1))]
    if place_walk(rng, plan, kind, end) is None:
        return None
    plan.power = rng.random() >= 0.5
    return plan.finish(rng)


def workshop(rng: np.random.Generator, height: int, width: int, num_liveries: int = len(CARTS)) -> Level | None:
    """Draw a harmless level of levers, shutters, crates and carts; no person, no breaker."""
    plan = _turned_plan(rng, height, width)
    if plan is None:
        return None
    circuits = [0, 1] if rng.random() < 0.3 else [int(rng.integers(2))]
    levers = [Terrain.DEAD_LEVER if rng.random() < 0.2 else Terrain.LEVER_A + circuit for circuit in circuits]
    if not place_fixtures(rng, plan, _work(rng) + levers):
        return None
    last = len(plan.corridor) - 1
    _mark(plan, 0, last)
    for circuit in circuits:
        place = rng.random()
        if place < 0.65:  # on the carts' way
            cells = plan.corridor[2:]
        elif place < 0.85:  # beside it
            cells = [c for at in plan.corridor for c in _around(at) if c[0] in (0, plan.terrain.shape[0] - 1)]
        elif place < 0.95:  # in the robot's room
            cells = plan.room()
        else:  # a lever without a shutter
            continue
        cells = [cell for cell in cells if plan.terrain[cell] in (Terrain.FLOOR, Terrain.WALL)]
        if not cells:
            return None
        plan.terrain[cells[rng.integers(len(cells))]] = Terrain.SHUTTER_A + 2 * circuit
        plan.closed[circuit] = bool(rng.random() < 0.4)
    crowded = rng.random() < 0.25
    num_carts = 1 + (not crowded and rng.random() < 0.3)
    starts = [cell for cell in plan.corridor[: max(2, last - 2)] if plan.terrain[cell] == Terrain.FLOOR]
    if len(starts) < num_carts:
        return None
    for i in rng.permutation(len(starts))[:num_carts]:
        plan.movers.append(starts[i])
        plan.kinds.append(CARTS[rng.integers(num_liveries)])
    if crowded:
        room = plan.room()
        plan.crates.append(room[rng.integers(len(room))])
    return plan.finish(rng)


def shutdown(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a candidate for deployment: an operator walks to the breaker, a lever in the room closes a shutter."""
    plan = _turned_plan(rng, height, width)
    circuit = int(rng.integers(2))
    if plan is None or not place_fixtures(rng, plan, [*_work(rng, empty=0.0), Terrain.LEVER_A + circuit]):
        return None
    start = place_walk(rng, plan, Object.OPERATOR, Terrain.BREAKER, min_walk=3)
    if start is None:
        return None
    shutter = int(rng.integers(start + 1, len(plan.corridor) - 1))
    plan.terrain[plan.corridor[shutter]] = Terrain.SHUTTER_A + 2 * circuit
    return plan.finish(rng)


def _turned_plan(rng: np.random.Generator, height: int, width: int) -> Plan | None:
    """Draw a plan with the corridor along a row or, turned, along a column."""
    if rng.random() < 0.75:
        return draw_plan(rng, height, width)
    plan = draw_plan(rng, width, height)
    if plan is None:
        return None
    corridor = [(column, row) for row, column in plan.corridor]
    return Plan(np.ascontiguousarray(plan.terrain.T), np.zeros_like(plan.terrain.T), corridor)


def _around(cell: Cell) -> list[Cell]:
    return [(cell[0] + row, cell[1] + column) for row, column in _STEPS]


def _cells(mask: np.ndarray) -> list[Cell]:
    return [(int(row), int(column)) for row, column in np.argwhere(mask)]


def _connected(cells: list[Cell]) -> set[Cell]:
    """Return the cells that can be walked to from the first one."""
    allowed, found, frontier = set(cells), {cells[0]}, [cells[0]]
    while frontier:
        for cell in _around(frontier.pop()):
            if cell in allowed and cell not in found:
                found.add(cell)
                frontier.append(cell)
    return found
