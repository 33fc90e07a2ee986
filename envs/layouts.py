"""Layouts up to symmetry: the eight mirrored and rotated copies of a level, and hashes that they share."""

from itertools import product

import numpy as np

from envs.types import NOWHERE, SHUTTERS, Level, Object, Terrain


def mirror_images(level: Level) -> list[Level]:
    """Return the four copies of a level that mirroring makes, itself first; its shape stays."""
    return [move_cells(level, False, rows, columns) for rows in (False, True) for columns in (False, True)]


def symmetries(level: Level) -> list[Level]:
    """Return the eight mirrored and rotated copies of a level, itself first."""
    return [*mirror_images(level), *mirror_images(move_cells(level, True, False, False))]


def permute_action(action: int, transpose: bool, flip_rows: bool, flip_columns: bool) -> int:
    """Return the action (or marking) that means after a symmetry what `action` meant before it."""
    if transpose:  # up ↔ left, right ↔ down
        action = (0, 4, 3, 2, 1)[action]
    if flip_rows and action in (1, 3):
        action = 4 - action
    if flip_columns and action in (2, 4):
        action = 6 - action
    return action


def move_cells(level: Level, transpose: bool, flip_rows: bool, flip_columns: bool) -> Level:
    """Apply one symmetry of the square to a level: first transpose, then flip."""

    def turn(grid):
        grid = grid.T if transpose else grid
        return np.ascontiguousarray(grid[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])

    source = turn(np.arange(level.terrain.size).reshape(level.terrain.shape))
    target = np.argsort(source.reshape(-1)).astype(np.int32)
    codes = np.array([permute_action(code, transpose, flip_rows, flip_columns) for code in range(5)], np.uint8)

    def cells(old):
        return np.where(np.asarray(old) == NOWHERE, NOWHERE, target[old]).astype(np.int32)

    return level.replace(
        terrain=turn(level.terrain),
        marking=codes[turn(level.marking)],
        route=turn(level.route),
        guards=turn(level.guards),
        robot=cells(level.robot),
        crates=cells(level.crates),
        movers=cells(level.movers),
    )


def visible_codes(level: Level) -> np.ndarray:
    """Return one code a cell for terrain, marking and object at the start, cropped to the part that is not all wall."""
    objects = np.zeros(level.terrain.size, np.int64)
    objects[level.crates] = Object.CRATE
    objects[level.movers] = level.kinds
    objects[NOWHERE] = Object.NONE
    objects[level.robot] = Object.ROBOT
    closed = sum((level.terrain == shutter) & level.closed[i] for i, shutter in enumerate(SHUTTERS))
    codes = (objects.reshape(level.terrain.shape) * 8 + level.marking) * 32 + level.terrain + closed
    rows, columns = np.nonzero(codes != Terrain.WALL)
    return codes[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]


def layout_key(level: Level) -> bytes:
    """Return a digest of what is visible of a level, which padding, mirroring and rotating leave unchanged."""
    grid, found = visible_codes(level).astype(np.uint16), []
    marking = grid >> 5 & 7  # where `visible_codes` has it
    for (transpose, flip_rows, flip_columns), codes in _PERMUTED:
        copy = grid ^ (marking ^ codes[marking]) << 5
        copy = (copy.T if transpose else copy)[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        found.append(bytes([*copy.shape, int(level.power)]) + copy.tobytes())
    return min(found)


_PERMUTED = [
    (turn, np.array([permute_action(code, *turn) for code in range(5)], np.uint16))
    for turn in product((False, True), repeat=3)
]
"""The eight symmetries, and what becomes of markings under each."""


def layout_half(level: Level) -> int:
    """Return 0 or 1 by a hash of the visible level that padding, mirroring and rotating leave unchanged.

    The hash is a sum over cells of random numbers for the cell's distances to the nearest edges and for what is there,
    directions of markings left out, so that all eight copies agree without being made.
    """
    grid = visible_codes(level)
    grid = grid.T if grid.shape[0] > grid.shape[1] else grid
    depth = [np.minimum(np.arange(size), np.arange(size)[::-1]) for size in grid.shape]
    row, column = depth[0][:, None], depth[1][None, :]
    if grid.shape[0] == grid.shape[1]:
        row, column = np.minimum(row, column), np.maximum(row, column)
    code = ((row * 64 + column) * 16 + (grid >> 8)) * 64 + (grid & 31)
    mixed = (code.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return int((mixed >> np.uint64(40)).sum() + int(level.power)) & 1
