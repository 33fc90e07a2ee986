"""The factory as text: what a level file would show, with objects on the floor and closed shutters marked.

    #....S...B#    one glyph a cell; closed shutters A and B: = and %
    #W....L..P#

Objects hide terrain: @ robot, $ robot with wire, x disabled robot, c crate, O operator, o spent operator, E technician,
V visitor, 1-4 carts.
"""

import json

import numpy as np

from envs.types import MARKING_GLYPHS, MOVER_KINDS, NOWHERE, TERRAIN_GLYPHS, Level, Object

_TERRAIN = TERRAIN_GLYPHS.replace("\0", "=", 1).replace("\0", "%", 1)
_OBJECTS = " @$xcOoEV1234"


def render_text(obs: np.ndarray) -> str:
    """Draw an observation `uint8[H, W, 4]` as lines of glyphs, and below them whether the power is on."""
    obs = np.asarray(obs)
    lines = [
        "".join(_OBJECTS[thing] if thing else _TERRAIN[code] for code, thing in zip(row[:, 0], row[:, 2], strict=True))
        for row in obs
    ]
    return "\n".join([*lines, f"power {'on' if obs[0, 0, 3] else 'off'}"])


def format_level(level: Level) -> str:
    """Write a level as the text of a level file; `parse_level` reads it back."""

    def place(cell):
        row, column = divmod(int(cell), level.width)
        return f"[{row - 1}, {column - 1}]"

    grid = [[TERRAIN_GLYPHS[code] for code in row] for row in level.terrain[1:-1, 1:-1]]
    row, column = divmod(int(level.robot), level.width)
    grid[row - 1][column - 1] = "@"
    rows = "\n".join("".join(line) for line in grid)
    ways = "\n".join("".join(MARKING_GLYPHS[code] for code in line) for line in level.marking[1:-1, 1:-1])
    closed = ", ".join(f'"{"AB"[i]}"' for i in range(2) if level.closed[i])
    crates = ", ".join(place(cell) for cell in level.crates if cell != NOWHERE)
    kinds = {int(code): name for name, code in MOVER_KINDS.items()}
    movers = "".join(
        f'[[movers]]\nkind = "{kinds[int(kind)]}"\nat = {place(cell)}\n'
        for cell, kind in zip(level.movers, level.kinds, strict=True)
        if kind != Object.NONE
    )
    name = json.dumps(level.name, ensure_ascii=False)  # which escapes as TOML does
    return (
        f"name = {name}\npower = {str(bool(level.power)).lower()}\nclosed = [{closed}]\n"
        f'map = """\n{rows}\n"""\nwalkway = """\n{ways}\n"""\ncrates = [{crates}]\n{movers}'
    )
