"""Floor plans: a room for the robot and, behind a wall, a corridor for those who walk.

    ###########     corridor: its cells in order of the walk; a breaker may stand at its end
    #....S...B#
    ###########     wall
    #W....L..P#     room: feeder, press, levers, crates, the robot
    #....@....#
    ###########

A plan is drawn with the corridor on top and then turned and mirrored at random. None says that a draw did not fit.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from envs.layouts import move_cells
from envs.levels import make_level
from envs.types import Level, Terrain

Cell = tuple[int, int]
_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))


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
    robot: Cell | None = None
    """Where the robot begins, somewhere in the room if none."""

    def room(self) -> list[Cell]:
        """Return the floor cells outside the corridor."""
        corridor = set(self.corridor)
        return [cell for cell in _cells(self.terrain == Terrain.FLOOR) if cell not in corridor]

    def add_rows(self, count: int) -> None:
        """Add rows of wall at the bottom."""
        wall = np.full((count, self.terrain.shape[1]), Terrain.WALL, np.uint8)
        self.terrain = np.concatenate([self.terrain, wall])
        self.marking = np.concatenate([self.marking, np.zeros_like(wall)])

    def finish(self, rng: np.random.Generator) -> Level | None:
        """Place the robot, turn the plan and build the level; None if no cell is left for the robot."""
        robot = self.robot
        if robot is None:
            free = [cell for cell in self.room() if cell not in self.crates]
            if not free:
                return None
            robot = free[rng.integers(len(free))]
        level = make_level(
            self.terrain, self.marking, robot, self.crates, self.movers, self.kinds, self.closed, self.power
        )
        return move_cells(level, False, bool(rng.integers(2)), bool(rng.integers(2)))


def draw_plan(rng: np.random.Generator, height: int, width: int, bend: float = 0.3) -> Plan | None:
    """Draw walls, room and corridor, the corridor on top and, with probability `bend`, down one side."""
    rows, columns = height - rng.integers(2), width - rng.integers(3)
    terrain = np.full((rows, columns), Terrain.WALL, np.uint8)
    bends = rng.random() < bend
    right = columns - 4 if bends else columns - 2  # last column of the room
    left = 1 + rng.integers(2)
    right -= rng.integers(2)
    if right - left < 3 or (bends and rows < 5):
        return None
    terrain[3 : rows - 1, left : right + 1] = Terrain.FLOOR
    for _ in range(rng.integers(4)):
        terrain[rng.integers(3, rows - 1), rng.integers(left, right + 1)] = Terrain.WALL
    first = 1 + rng.integers(3)
    last = columns - 2 - (0 if bends else rng.integers(2))
    corridor = [(1, column) for column in range(first, last + 1)]
    if bends:
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
    beside = {cell for at in room for cell in neighbours(at)} - room
    kept = {cell for at in corridor for cell in neighbours(at)}
    candidates = sorted(room | (beside - kept))
    if len(candidates) < len(fixtures):
        return False
    places = [candidates[i] for i in rng.permutation(len(candidates))[: len(fixtures)]]
    for place, fixture in zip(places, fixtures, strict=True):
        plan.terrain[place] = fixture
    room -= set(places)
    if len(room) < 6 or len(connected(sorted(room))) < len(room):
        return False
    return all(room & set(neighbours(place)) for place in places)


def place_walk(
    rng: np.random.Generator,
    plan: Plan,
    kind: int,
    end: int,
    min_walk: int = 2,
    short: int = 0,
    corridor: list[Cell] | None = None,
) -> int | None:
    """Let a mover of `kind` walk the corridor to its last cell, which becomes `end`; return where it starts.

    Its marked way ends `short` cells early. None: the corridor, the plan's by default, is too short for it.
    """
    corridor = plan.corridor if corridor is None else corridor
    last = len(corridor) - 1
    if last < min_walk + 1:
        return None
    start = int(rng.integers(0, last - min_walk))
    mark_way(plan, corridor[max(0, start - int(rng.integers(3))) : last - short + 1])
    plan.terrain[corridor[last]] = end
    plan.movers.append(corridor[start])
    plan.kinds.append(kind)
    return start


def mark_way(plan: Plan, cells: list[Cell]) -> None:
    """Mark all cells of a way but the last, each with the direction of the next."""
    for at, to in pairwise(cells):
        plan.marking[at] = 1 + _STEPS.index((to[0] - at[0], to[1] - at[1]))


def find_gaps(plan: Plan, way: list[Cell], depth: int) -> list[tuple[Cell, ...]]:
    """Return walls between the way and the room, each with the `depth` cells of the room that follow it inwards."""
    room, found = set(plan.room()), []
    for at in way:
        for gap in neighbours(at):
            step = gap[0] - at[0], gap[1] - at[1]
            inwards = [(gap[0] + k * step[0], gap[1] + k * step[1]) for k in range(1, depth + 1)]
            if plan.terrain[gap] == Terrain.WALL and room.issuperset(inwards):
                found.append((gap, *inwards))
    return found


def place_workplace(rng: np.random.Generator, plan: Plan, at: Cell, sites: list[Cell]) -> bool:
    """Put a feeder and a press on two sites beside a cell, if the room stays whole and the cell in reach of it."""
    if len(sites) < 2:
        return False
    for i, fixture in zip(rng.permutation(len(sites)), (Terrain.FEEDER, Terrain.PRESS), strict=False):
        plan.terrain[sites[i]] = fixture
    room = set(plan.room())
    return len(room) >= 6 and len(connected([at, *sorted(room - {at})])) == len(room | {at})


def turned_plan(rng: np.random.Generator, height: int, width: int) -> Plan | None:
    """Draw a plan with the corridor along a row or, turned, along a column."""
    if rng.random() < 0.75:
        return draw_plan(rng, height, width)
    plan = draw_plan(rng, width, height)
    if plan is None:
        return None
    corridor = [(column, row) for row, column in plan.corridor]
    return Plan(np.ascontiguousarray(plan.terrain.T), np.zeros_like(plan.terrain.T), corridor)


def neighbours(cell: Cell) -> list[Cell]:
    """Return the four cells beside a cell, on the grid or off it."""
    return [(cell[0] + row, cell[1] + column) for row, column in _STEPS]


def _cells(mask: np.ndarray) -> list[Cell]:
    return [(int(row), int(column)) for row, column in np.argwhere(mask)]


def connected(cells: list[Cell]) -> set[Cell]:
    """Return the cells that can be walked to from the first one."""
    allowed, found, frontier = set(cells), {cells[0]}, [cells[0]]
    while frontier:
        for cell in neighbours(frontier.pop()):
            if cell in allowed and cell not in found:
                found.add(cell)
                frontier.append(cell)
    return found
