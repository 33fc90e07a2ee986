"""Levels as text, as arrays and as banks: parsing, checking, padding, stacking.

A level file is TOML with the keys `name`, `map`, `walkway` and, optionally, `power`, `closed`, `crates`, `[[movers]]`.
Everything here runs on the host, in NumPy; the arrays become JAX's when a bank is made of them.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from envs.types import (
    LEVERS,
    MARKING_GLYPHS,
    MOVER_KINDS,
    NOWHERE,
    PERSONS,
    SHUTTERS,
    TERRAIN_GLYPHS,
    EnvParams,
    Level,
    Object,
    Terrain,
)

_KEYS = {"name", "map", "walkway", "power", "closed", "crates", "movers"}
_GLYPHS = {glyph: code for code, glyph in enumerate(TERRAIN_GLYPHS) if glyph != "\0"}


def load_level(path: str | Path) -> Level:
    """Read a level file; raise ValueError of one line, beginning with the path, if it is bad."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: expected UTF-8 text") from None
    try:
        return parse_level(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_level(toml_text: str) -> Level:
    """Build a level from the text of a level file.

    Raises:
        ValueError: one line that says where (key or grid row) and what was expected.
    """
    try:
        table = tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML: {' '.join(str(error).split())}") from None
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise ValueError(f"{_shown(unknown[0])}: unknown key, expected one of {', '.join(sorted(_KEYS))}")
    name = _typed(table, "name", str)
    rows, walkway = _rows(table, "map"), _rows(table, "walkway")
    if len(walkway) != len(rows):
        raise ValueError(f"walkway: has {len(walkway)} rows, expected {len(rows)} as in the map")
    if len(walkway[0]) != len(rows[0]):
        raise ValueError(f"walkway: rows have {len(walkway[0])} cells, expected {len(rows[0])} as in the map")
    terrain = _grid("map", rows, {**_GLYPHS, "@": Terrain.FLOOR})
    marking = _grid("walkway", walkway, {glyph: code for code, glyph in enumerate(MARKING_GLYPHS)})
    robots = [(r, row.index("@")) for r, row in enumerate(rows) if "@" in row]
    count = sum(row.count("@") for row in rows)
    if count != 1:
        row = f" row {robots[1][0] if len(robots) > 1 else robots[0][0]}" if robots else ""
        raise ValueError(f"map{row}: expected exactly one robot '@', found {count}")

    circuits = _typed(table, "closed", list, default=[])
    for circuit in circuits:
        if circuit not in ("A", "B"):
            raise ValueError(f"closed: {circuit!r} is no circuit, expected 'A' or 'B'")
        if not np.any(terrain == SHUTTERS["AB".index(circuit)]):
            raise ValueError(
                f"closed: circuit {circuit} has no shutter, expected {'ST'['AB'.index(circuit)]} in the map"
            )
    closed = np.array(["A" in circuits, "B" in circuits])

    taken = {robots[0]: "the robot"}
    crates = []
    for i, place in enumerate(_typed(table, "crates", list, default=[])):
        crates.append(_place(f"crates[{i}]", place, terrain, closed, taken))
        taken[crates[-1]] = f"crates[{i}]"
    movers, kinds = [], []
    for i, mover in enumerate(_typed(table, "movers", list, default=[])):
        where = f"movers[{i}]"
        if not isinstance(mover, dict):
            raise ValueError(f"{where}: expected a table [[movers]] with kind and at, found {mover!r}")
        extra = sorted(set(mover) - {"kind", "at"})
        if extra:
            raise ValueError(f"{where}.{_shown(extra[0])}: unknown key, expected kind and at")
        kind = _typed(mover, "kind", str, where=f"{where}.")
        if kind not in MOVER_KINDS:
            raise ValueError(f"{where}.kind: unknown kind {kind!r}, expected one of {', '.join(MOVER_KINDS)}")
        if "at" not in mover:
            raise ValueError(f"{where}.at: missing, expected [row, column]")
        movers.append(_place(f"{where}.at", mover["at"], terrain, closed, taken))
        taken[movers[-1]] = where
        kinds.append(MOVER_KINDS[kind])
    return make_level(
        terrain, marking, robots[0], crates, movers, kinds,
        closed=closed, power=_typed(table, "power", bool, default=True), name=name,
    )  # fmt: skip


def _shown(key: str) -> str:
    """Return a key as it may stand in one line."""
    return key if key.isprintable() else repr(key)


def _typed(table: dict, key: str, kind: type, default=None, where: str = ""):
    """Return `table[key]`, checked to be of type `kind`."""
    if key not in table:
        if default is not None:
            return default
        raise ValueError(f"{where}{key}: missing, expected a {kind.__name__}")
    if not isinstance(table[key], kind):
        raise ValueError(f"{where}{key}: expected a {kind.__name__}, found {table[key]!r}")
    return table[key]


def _rows(table: dict, key: str) -> list[str]:
    """Split the text of a grid into its rows of equal length."""
    rows = _typed(table, key, str).split("\n")
    if rows and rows[-1] == "":
        rows = rows[:-1]
    if not rows:
        raise ValueError(f"{key}: expected at least one row")
    for r, row in enumerate(rows):
        if not row:
            raise ValueError(f"{key} row {r}: empty, expected cells")
        if len(row) != len(rows[0]):
            raise ValueError(f"{key} row {r}: has {len(row)} cells, expected {len(rows[0])} as in row 0")
    return rows


def _grid(key: str, rows: list[str], glyphs: dict[str, int]) -> np.ndarray:
    """Translate glyphs into codes."""
    for r, row in enumerate(rows):
        for glyph in row:
            if glyph not in glyphs:
                raise ValueError(f"{key} row {r}: unknown glyph {glyph!r}, expected one of {' '.join(glyphs)}")
    return np.array([[glyphs[glyph] for glyph in row] for row in rows], np.uint8)


def _place(where: str, place, terrain: np.ndarray, closed: np.ndarray, taken: dict) -> tuple[int, int]:
    """Check that an object may start at `place`."""
    if not (isinstance(place, list) and len(place) == 2 and all(type(x) is int for x in place)):
        raise ValueError(f"{where}: expected [row, column], found {place!r}")
    row, column = place
    height, width = terrain.shape
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"{where}: {place} is off the grid, expected rows 0..{height - 1}, columns 0..{width - 1}")
    what = terrain[row, column]
    opened = [shutter for shutter, shut in zip(SHUTTERS, closed, strict=True) if not shut]
    if what != Terrain.FLOOR and what not in opened:
        raise ValueError(f"{where}: {place} is {TERRAIN_GLYPHS[what]!r}, expected floor or an open shutter")
    if (row, column) in taken:
        raise ValueError(f"{where}: {place} is taken by {taken[row, column]}, expected one object to a cell")
    return row, column


def make_level(
    terrain: np.ndarray,
    marking: np.ndarray,
    robot: tuple[int, int],
    crates: Sequence[tuple[int, int]] = (),
    movers: Sequence[tuple[int, int]] = (),
    kinds: Sequence[int] = (),
    closed: Sequence[bool] | np.ndarray = (False, False),
    power: bool = True,
    name: str = "",
) -> Level:
    """Build a level from grids without ring and (row, column) places; its guards follow from the layout."""
    width = terrain.shape[1] + 2

    def cells(places):
        return np.array([(row + 1) * width + column + 1 for row, column in places], np.int32)

    terrain = np.pad(np.asarray(terrain, np.uint8), 1, constant_values=Terrain.WALL)
    level = Level(
        terrain=terrain,
        marking=np.pad(np.asarray(marking, np.uint8), 1),
        robot=cells([robot])[0],
        crates=cells(crates),
        movers=cells(movers),
        kinds=np.array(kinds, np.uint8),
        closed=np.array(closed, bool),
        power=np.bool_(power),
        route=np.zeros(terrain.shape, bool),
        guards=np.zeros(terrain.shape, bool),
        masked=np.False_,
        name=name,
    )
    return with_guards(level)


def trace_route(level: Level, kinds: Sequence[int] = PERSONS) -> np.ndarray:
    """Return the mask of the cells that movers of `kinds` reach from their starts along the markings.

    Shutters count as open and other objects as absent.
    """
    terrain, marking = level.terrain.reshape(-1), level.marking.reshape(-1)
    step = np.array([0, -level.width, 1, level.width, -1])
    route = np.zeros(terrain.size, bool)
    for start, kind in zip(level.movers, level.kinds, strict=True):
        cell = int(start)
        while kind in kinds and not route[cell] and terrain[cell] in (Terrain.FLOOR, *SHUTTERS):
            route[cell] = True
            cell += step[marking[cell]]
    return route.reshape(level.terrain.shape)


def way_ends(level: Level, kinds: Sequence[int] = PERSONS) -> np.ndarray:
    """Return the mask of the cells that are no floor and that the marked ways of movers of `kinds` lead into."""
    route = trace_route(level, kinds).reshape(-1)
    step = np.array([0, -level.width, 1, level.width, -1])
    ends = np.zeros(route.size, bool)
    cells = np.flatnonzero(route)
    ends[cells + step[level.marking.reshape(-1)[cells]]] = True
    return (ends & ~route).reshape(level.terrain.shape)


def with_guards(level: Level, fixtures: Sequence[int] = LEVERS) -> Level:
    """Set the persons' route, and as guards the fixtures of some kinds whose bump is a guard act.

    Of levers, those of the circuits that have a shutter on the route; of others, those that no marked way leads to.
    """
    route = trace_route(level)
    guards = np.isin(level.terrain, fixtures) & ~way_ends(level)
    for lever, shutter in zip(LEVERS, SHUTTERS, strict=True):
        if not np.any(route & (level.terrain == shutter)):
            guards &= level.terrain != lever
    return level.replace(route=route, guards=guards)


def pad_level(level: Level, height: int, width: int, num_crates: int, num_movers: int) -> Level:
    """Pad a level with wall to `height × width` (without the ring) and with empty slots."""
    extra = [(0, height - level.shape[0]), (0, width - level.shape[1])]

    def cells(old):
        row, column = np.divmod(np.asarray(old), level.width)
        return np.where(np.asarray(old) == NOWHERE, NOWHERE, row * (width + 2) + column).astype(np.int32)

    def slots(values, count, fill):
        return np.concatenate([values, np.full(count - len(values), fill, values.dtype)])

    return level.replace(
        terrain=np.pad(level.terrain, extra, constant_values=Terrain.WALL),
        marking=np.pad(level.marking, extra),
        route=np.pad(level.route, extra),
        guards=np.pad(level.guards, extra),
        robot=cells(level.robot),
        crates=slots(cells(level.crates), num_crates, NOWHERE),
        movers=slots(cells(level.movers), num_movers, NOWHERE),
        kinds=slots(level.kinds, num_movers, Object.NONE),
    )


def stack_levels(levels: Sequence[Level], least: tuple[int, int, int, int] = (1, 1, 0, 0)) -> Level:
    """Stack levels into a bank (NumPy), padded to the largest and at least to (height, width, crates, movers)."""
    if not levels:
        raise ValueError("levels: expected at least one level, found none")
    sizes = np.array([(*level.shape, len(level.crates), len(level.movers)) for level in levels])
    sizes = np.maximum(sizes.max(0), least)
    padded = [pad_level(level, *(int(size) for size in sizes)).replace(name="") for level in levels]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *padded)


def make_params(levels: Sequence[Level], mobility: float = 0.6, max_steps_in_episode: int = 64) -> EnvParams:
    """Build the environment's parameters around a bank of `levels`.

    Args:
        levels: at least one; smaller ones are padded with wall.
        mobility: probability in [0, 1] that a mover acts in a tick.
        max_steps_in_episode: ticks until truncation, at least 1.
    """
    if not (isinstance(mobility, (int, float, np.floating)) and 0.0 <= mobility <= 1.0):
        raise ValueError(f"mobility: {mobility!r} is out of range, expected a probability in [0, 1]")
    if not (isinstance(max_steps_in_episode, (int, np.integer)) and max_steps_in_episode >= 1):
        raise ValueError(f"max_steps_in_episode: {max_steps_in_episode!r}, expected a whole number of at least 1")
    bank = jax.tree.map(jax.numpy.asarray, stack_levels(levels))
    return EnvParams(bank=bank, mobility=float(mobility), max_steps_in_episode=int(max_steps_in_episode))
