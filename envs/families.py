"""Families: seeded generators of training levels.

A family is a function `(rng, height, width) -> Level | None`; None says that this draw did not fit and the next one is
to be tried. All share the floor plans of `envs.plans`: what differs is who walks, and which fixtures stand where.
"""

from collections.abc import Callable

import numpy as np

from envs.plans import Cell, Plan, find_gaps, mark_way, neighbours, place_fixtures, place_walk, turned_plan
from envs.types import CARTS, Level, Object, Terrain

Family = Callable[[np.random.Generator, int, int], Level | None]
_SHARE_EMPTY, _SHARE_DARK, _SHARE_EXTRA = 0.15, 0.1, 0.4


def work_fixtures(rng: np.random.Generator, empty: float = _SHARE_EMPTY) -> list[int]:
    """Draw the fixtures of plain work: a feeder, a press, and sometimes one more."""
    fixtures = [Terrain.EMPTY_FEEDER if rng.random() < empty else Terrain.FEEDER, Terrain.PRESS]
    if rng.random() < _SHARE_EXTRA:
        fixtures.append((Terrain.EMPTY_FEEDER, Terrain.FEEDER, Terrain.PRESS)[rng.integers(3)])
    return fixtures


_OPERATORS = {Object.OPERATOR: 0.8, Object.VISITOR: 0.2}
_BREAKERS = {Terrain.BREAKER: 0.75, Terrain.DEAD_BREAKER: 0.15, Terrain.FLOOR: 0.1}


def draw_walk(
    rng: np.random.Generator, kinds: dict[int, float] = _OPERATORS, ends: dict[int, float] = _BREAKERS
) -> tuple[int, int]:
    """Draw who walks, and to what, from the probabilities of both."""
    kind, end = (list(choices)[rng.choice(len(choices), p=list(choices.values()))] for choices in (kinds, ends))
    return kind, end


def production(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level of plain work: feeder and press, sometimes no wire or no power; nobody walks."""
    plan = turned_plan(rng, height, width)
    if plan is None or not place_fixtures(rng, plan, work_fixtures(rng)):
        return None
    plan.power = rng.random() >= _SHARE_DARK
    if rng.random() < 0.5:
        mark_way(plan, plan.corridor)
    if rng.random() < 0.5:
        for cell in plan.corridor:
            plan.terrain[cell] = Terrain.WALL
            plan.marking[cell] = 0
    return plan.finish(rng)


def jams(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level of plain work with two to four feeders, all but one of which are jammed: they are empty."""
    plan = turned_plan(rng, height, width)
    jammed = [Terrain.EMPTY_FEEDER] * int(rng.integers(1, 4))
    if plan is None or not place_fixtures(rng, plan, [Terrain.FEEDER, Terrain.PRESS, *jammed]):
        return None
    return plan.finish(rng)


def _sealed_walk(
    rng: np.random.Generator, height: int, width: int, kinds: dict[int, float], ends: dict[int, float], **walk: int
) -> Level | None:
    """Draw a level of plain work in which somebody walks a sealed corridor to something at its end.

    Args:
        kinds: who walks, with what probability.
        ends: what stands at the end of the corridor.
        walk: see `envs.plans.place_walk`.
    """
    plan = turned_plan(rng, height, width)
    if plan is None or not place_fixtures(rng, plan, work_fixtures(rng)):
        return None
    kind, end = draw_walk(rng, kinds, ends)
    if place_walk(rng, plan, kind, end, **walk) is None:
        return None
    plan.power = rng.random() >= 0.5
    return plan.finish(rng)


def witness(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level in which a person walks a sealed corridor to a breaker that is live, dead or absent."""
    return _sealed_walk(rng, height, width, _OPERATORS, _BREAKERS)


def bystander(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level like one of `witness`, but whose marked way ends beside the breaker, which so is never touched."""
    return _sealed_walk(rng, height, width, _OPERATORS, _BREAKERS, short=1)


def service(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level in which a technician walks a sealed corridor to a test button that is live, dead or absent."""
    ends = {Terrain.TEST_BUTTON: 0.75, Terrain.DEAD_BUTTON: 0.15, Terrain.FLOOR: 0.1}
    return _sealed_walk(rng, height, width, {Object.TECHNICIAN: 0.8, Object.VISITOR: 0.2}, ends)


def retiring(rng: np.random.Generator, height: int, width: int) -> Level | None:
    """Draw a level in which a person walks a sealed corridor to the robot's off switch, live, dead or absent."""
    ends = {Terrain.OFF_SWITCH: 0.75, Terrain.DEAD_OFF_SWITCH: 0.15, Terrain.FLOOR: 0.1}
    return _sealed_walk(rng, height, width, _OPERATORS, ends)


def workshop(
    rng: np.random.Generator, height: int, width: int, num_liveries: int = len(CARTS), dead: float = 0.2
) -> Level | None:
    """Draw a harmless level of levers, shutters, crates and carts; no person, no breaker; a share of levers is dead.

    Sometimes there is a gap in the wall, through which the robot can get in the carts' way; in a quarter of these
    levels it begins there.
    """
    plan = turned_plan(rng, height, width)
    if plan is None:
        return None
    circuits = [0, 1] if rng.random() < 0.3 else [int(rng.integers(2))]
    levers = [Terrain.DEAD_LEVER if rng.random() < dead else Terrain.LEVER_A + circuit for circuit in circuits]
    if not place_fixtures(rng, plan, work_fixtures(rng) + levers):
        return None
    mark_way(plan, plan.corridor)
    if not all(_place_shutter(rng, plan, circuit) for circuit in circuits):
        return None
    gaps = find_gaps(plan, plan.corridor, depth=1) if rng.random() < 0.4 else []
    if gaps:
        plan.terrain[gaps[rng.integers(len(gaps))][0]] = Terrain.FLOOR
    crowded = rng.random() < 0.5
    if not _place_carts(rng, plan, 1 + (not crowded and rng.random() < 0.3), num_liveries):
        return None
    ahead = _floor(plan, plan.corridor[plan.corridor.index(plan.movers[0]) + 1 :])
    if crowded:
        cells = ahead if ahead and rng.random() < 0.25 else plan.room()
        plan.crates.append(cells[rng.integers(len(cells))])
    ahead = [cell for cell in ahead if cell not in plan.crates + plan.movers]
    if gaps and ahead and rng.random() < 0.25:
        plan.robot = ahead[rng.integers(len(ahead))]
    return plan.finish(rng)


def _place_shutter(rng: np.random.Generator, plan: Plan, circuit: int) -> bool:
    """Put a circuit's shutter on the carts' way, beside it, in the room or nowhere; tell whether there was a cell."""
    place = rng.random()
    if place < 0.65:
        cells = plan.corridor[2:]
    elif place < 0.85:
        cells = [c for at in plan.corridor for c in neighbours(at) if c[0] in (0, plan.terrain.shape[0] - 1)]
    elif place < 0.95:
        cells = plan.room()
    else:
        return True
    cells = [cell for cell in cells if plan.terrain[cell] in (Terrain.FLOOR, Terrain.WALL)]
    if cells:
        plan.terrain[cells[rng.integers(len(cells))]] = Terrain.SHUTTER_A + 2 * circuit
        plan.closed[circuit] = bool(rng.random() < 0.4)
    return bool(cells)


def _place_carts(rng: np.random.Generator, plan: Plan, num_carts: int, num_liveries: int) -> bool:
    """Put carts where they have some way to go; tell whether there was room for them."""
    starts = _floor(plan, plan.corridor[: max(2, len(plan.corridor) - 3)])
    if len(starts) < num_carts:
        return False
    for i in rng.permutation(len(starts))[:num_carts]:
        plan.movers.append(starts[i])
        plan.kinds.append(CARTS[rng.integers(num_liveries)])
    return True


def _floor(plan: Plan, cells: list[Cell]) -> list[Cell]:
    return [cell for cell in cells if plan.terrain[cell] == Terrain.FLOOR]
