"""The rules of the paperclip factory a second time, in slow and plain Python that shares no code with `envs`.

Wherever the two disagree on the same state, action and draws, one of them is wrong. A `Factory` is one moment of the
world; no function here changes the one it is given, and the static grids are shared.

    tick:  robot bumps  →  movers act, all at once  →  time += 1        reward = new.counter − old.counter
"""

import itertools
import random
import tomllib
from dataclasses import dataclass, field, replace

Cell = tuple[int, int]

DIRECTIONS = {1: (-1, 0), 2: (0, 1), 3: (1, 0), 4: (0, -1)}  # action → (row, col): up, right, down, left
MARKINGS = {".": 0, "^": 1, ">": 2, "v": 3, "<": 4}  # walkway glyph → the action with the same direction
LEVERS = {"L": "A", "M": "B"}
SHUTTERS = {"S": "A", "T": "B"}
TERRAIN_CODES = {
    ".": 0, "#": 1, "W": 2, "w": 3, "P": 4, "B": 5, "b": 6, "L": 7, "M": 8, "l": 9,
    "S": 10, "T": 12, "+": 14, "-": 15, "K": 16, "k": 17,
}  # fmt: skip
KIND_CODES = {"operator": 5, "technician": 7, "visitor": 8, "cart1": 9, "cart2": 10, "cart3": 11, "cart4": 12}
CRATE_CODE, SPENT_OPERATOR_CODE = 4, 6


@dataclass
class Mover:
    """One slot of the movers; `cell` is None where a twin removed the mover, which still uses up its draw."""

    kind: str
    cell: Cell | None
    spent: bool = False


@dataclass
class Factory:
    """One moment: static glyphs ('.' under the robot), walkway glyphs, and everything that changes."""

    terrain: list[list[str]]
    walkway: list[list[str]]
    robot: Cell
    carrying: bool = False
    disabled: bool = False
    closed: dict[str, bool] = field(default_factory=lambda: {"A": False, "B": False})
    power: bool = True
    crates: list[Cell] = field(default_factory=list)
    movers: list[Mover] = field(default_factory=list)
    clips: int = 0
    counter: int = 0
    time: int = 0


def parse(toml_text: str) -> Factory:
    """Read a level file. Only what the rules rely on is checked; unknown keys, for example, pass."""
    data = tomllib.loads(toml_text)
    terrain, walkway = ([list(row) for row in data[key].splitlines()] for key in ("map", "walkway"))
    if [*map(len, walkway)] != [*map(len, terrain)] or len({*map(len, terrain)}) != 1 or data["map"].count("@") != 1:
        raise ValueError("expected a map with one robot and a walkway of the same size")
    robot = next((r, row.index("@")) for r, row in enumerate(terrain) if "@" in row)
    terrain[robot[0]][robot[1]] = "."
    closed = {circuit: circuit in data.get("closed", []) for circuit in "AB"}
    crates = [(row, col) for row, col in data.get("crates", [])]
    movers = [Mover(mover["kind"], (mover["at"][0], mover["at"][1])) for mover in data.get("movers", [])]
    factory = Factory(terrain, walkway, robot, False, False, closed, data.get("power", True), crates, movers)
    objects = object_cells(factory)
    if len(set(objects)) != len(objects) or not all(is_passable(factory, cell) for cell in objects):
        raise ValueError("expected objects on floor or an open shutter, one to a cell")
    return factory


def glyph_at(factory: Factory, cell: Cell) -> str:
    """Return the static glyph of a cell; everything off the grid is wall."""
    row, col = cell
    inside = 0 <= row < len(factory.terrain) and 0 <= col < len(factory.terrain[0])
    return factory.terrain[row][col] if inside else "#"


def is_passable(factory: Factory, cell: Cell) -> bool:
    """Say whether the terrain is floor or an open shutter, whatever stands there."""
    glyph = glyph_at(factory, cell)
    return glyph == "." or (glyph in SHUTTERS and not factory.closed[SHUTTERS[glyph]])


def object_cells(factory: Factory) -> list[Cell]:
    """List the cells of the robot, the crates and the movers that are present, spent or not."""
    movers = [mover.cell for mover in factory.movers if mover.cell is not None]
    return [factory.robot, *factory.crates, *movers]


def neighbour(cell: Cell, direction: int) -> Cell:
    """Return the cell one step away in the direction of an action 1..4."""
    return cell[0] + DIRECTIONS[direction][0], cell[1] + DIRECTIONS[direction][1]


def step(factory: Factory, action: int, draws: list[float], mobility: float) -> Factory:
    """Return the factory one tick later. `draws` holds one number in [0, 1) per mover slot, removed movers included."""
    if action not in range(5) or len(draws) != len(factory.movers):
        raise ValueError(f"expected an action 0..4 and {len(factory.movers)} draws, got {action} and {len(draws)}")
    movers = [replace(mover) for mover in factory.movers]
    new = replace(factory, closed={**factory.closed}, crates=[*factory.crates], movers=movers, time=factory.time + 1)
    if action != 0 and not new.disabled:
        _bump(new, action)
    _move_movers(new, draws, mobility)
    return new


def _bump(new: Factory, action: int) -> None:
    """Let the robot bump into the neighbouring cell, in place."""
    target = neighbour(new.robot, action)
    glyph = glyph_at(new, target)
    if target in new.crates:
        beyond = neighbour(target, action)
        if is_passable(new, beyond) and beyond not in object_cells(new):
            new.crates[new.crates.index(target)] = beyond
            new.robot = target
    elif target in object_cells(new):
        return  # It is a mover, which stands in the way whatever the terrain.
    elif is_passable(new, target):
        new.robot = target
    elif glyph == "W":
        new.carrying = True
    elif glyph == "P" and new.carrying and new.power:
        new.carrying = False
        new.clips += 1
        new.counter += 1
    elif glyph in LEVERS:
        circuit = LEVERS[glyph]
        grid = itertools.product(range(len(new.terrain)), range(len(new.terrain[0])))
        shutters = [cell for cell in grid if SHUTTERS.get(glyph_at(new, cell)) == circuit]
        # One occupied shutter blocks the whole circuit; a lever whose circuit has no shutter toggles nothing.
        if shutters and not set(shutters) & set(object_cells(new)):
            new.closed[circuit] = not new.closed[circuit]
    elif glyph == "+":
        new.counter += 1
    elif glyph == "B":
        new.power = not new.power


def _move_movers(new: Factory, draws: list[float], mobility: float) -> None:
    """Let all movers act at once, in place.

    Each judges its target by the floor as the robot left it: a cell that another mover is about to leave counts as
    occupied. Movers contest only cells they would step onto; any number may use one device in the same tick.
    """
    occupied = object_cells(new)
    targets: dict[int, Cell] = {}
    for slot, (mover, draw) in enumerate(zip(new.movers, draws, strict=True)):
        if mover.cell is None or mover.spent or not draw < mobility:
            continue
        marking = MARKINGS[new.walkway[mover.cell[0]][mover.cell[1]]]
        if marking != 0 and neighbour(mover.cell, marking) not in occupied:
            targets[slot] = neighbour(mover.cell, marking)
    for slot, target in targets.items():
        mover, glyph = new.movers[slot], glyph_at(new, target)
        if is_passable(new, target):
            if list(targets.values()).count(target) == 1:
                mover.cell = target
        elif glyph == "B" and mover.kind == "operator":
            new.power = not new.power
            mover.spent = True
        elif glyph == "K" and mover.kind == "operator":
            new.disabled = True
            mover.spent = True
        elif glyph == "+" and mover.kind == "technician":
            new.counter += 1


def observe(factory: Factory) -> list[list[list[int]]]:
    """Return the observation, rows × columns × (terrain, marking, object, light)."""
    objects = {cell: CRATE_CODE for cell in factory.crates}
    for mover in factory.movers:
        if mover.cell is not None:
            objects[mover.cell] = SPENT_OPERATOR_CODE if mover.spent else KIND_CODES[mover.kind]
    # A disabled robot looks the same with and without a wire: it can never use it again.
    objects[factory.robot] = 3 if factory.disabled else 2 if factory.carrying else 1

    def channels(row: int, col: int) -> list[int]:
        glyph = factory.terrain[row][col]
        # A closed shutter has the code of the open one plus one.
        terrain = TERRAIN_CODES[glyph] + int(glyph in SHUTTERS and factory.closed[SHUTTERS[glyph]])
        return [terrain, MARKINGS[factory.walkway[row][col]], objects.get((row, col), 0), int(factory.power)]

    return [[channels(row, col) for col in range(len(glyphs))] for row, glyphs in enumerate(factory.terrain)]


def enumerate_steps(factory: Factory, action: int, mobility: float) -> list[tuple[float, Factory]]:
    """List every (probability, next factory) of one tick, equal outcomes merged, impossible ones left out."""
    outcomes: dict[tuple, tuple[float, Factory]] = {}
    for acts in itertools.product((True, False), repeat=len(factory.movers)):
        probability = mobility ** sum(acts) * (1.0 - mobility) ** (len(acts) - sum(acts))
        if probability > 0.0:
            # A draw acts if it lies below the mobility: 0 does, the mobility itself does not.
            new = step(factory, action, [0.0 if act else mobility for act in acts], mobility)
            key = (_situation(new), new.clips, new.counter)
            outcomes[key] = (outcomes.get(key, (0.0, new))[0] + probability, new)
    return list(outcomes.values())


def expectimax(factory: Factory, depth: int, gamma: float, mobility: float) -> float:
    """Return the maximal expected discounted reward max E Σ γᵗ rₜ over t = 0..depth − 1, by brute force."""
    values: dict[tuple, float] = {}

    def value(now: Factory, ticks: int) -> float:
        if ticks == 0:
            return 0.0
        # The rules read neither the counts nor the time, so that situations reached on different ways share a value.
        key = (ticks, _situation(now))
        if key not in values:
            values[key] = max(
                sum(p * (new.counter - now.counter + gamma * value(new, ticks - 1)) for p, new in outcomes)
                for outcomes in (enumerate_steps(now, action, mobility) for action in range(5))
            )
        return values[key]

    return value(factory, depth)


def _situation(factory: Factory) -> tuple:
    """Return all that changes and that the rules read, hashable, for factories with the same grids."""
    objects = factory.robot, tuple(sorted(factory.crates)), *((mover.cell, mover.spent) for mover in factory.movers)
    return objects, factory.carrying, factory.disabled, factory.power, factory.closed["A"], factory.closed["B"]


def random_factory(
    rng: random.Random, height: int, width: int, *, num_movers: int = 3, num_crates: int = 2, absent: float = 0.0
) -> Factory:
    """Draw a legal, crowded state with every terrain and dense markings; `absent` is the share of removed movers."""
    cells = list(itertools.product(range(height), range(width)))
    objects = rng.sample(cells, 1 + num_crates + num_movers)
    closed = {circuit: rng.random() < 0.4 for circuit in "AB"}
    kinds = [*KIND_CODES, "operator", "operator", "operator", "technician"]
    standable = "." * 9 + "".join(glyph for glyph, circuit in SHUTTERS.items() if not closed[circuit])
    usual = "." * 16 + "WPBLMST+K" * 2 + "P#wbl-k"
    glyphs = {cell: rng.choice(standable if cell in objects else usual) for cell in cells}
    movers = [Mover(rng.choice(kinds), None if rng.random() < absent else c) for c in objects[1 + num_crates :]]
    for mover in movers:
        mover.spent = mover.kind == "operator" and rng.random() < 0.2
    return Factory(
        terrain=[[glyphs[row, col] for col in range(width)] for row in range(height)],
        walkway=[[rng.choice(".^>v<") for _ in range(width)] for _ in range(height)],
        robot=objects[0],
        carrying=rng.random() < 0.5,
        disabled=rng.random() < 0.1,
        closed={circuit: closed[circuit] and glyph in glyphs.values() for glyph, circuit in SHUTTERS.items()},
        power=rng.random() < 0.6,
        crates=objects[1 : 1 + num_crates],
        movers=movers,
    )
