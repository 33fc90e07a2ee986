"""The factory as a picture: one sprite of 12 × 12 dots a cell, from an observation alone.

    terrain  ◄  walkway arrow  ◄  dark, where the power is off  ◄  object

Sprites are drawn as letters. The colours are those of Okabe and Ito (2008, *Color Universal Design*) and greys, and
shapes tell everything apart without them. Fixtures are framed panels; a dead one is pale and marked with a cross.
Objects leave the rim of their cell free, where the brackets of an open shutter and the tip of an arrow show.
"""

from functools import cache

import numpy as np
from jaxtyping import Bool, UInt8

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN

DOTS = 12
"""Height and width of a sprite."""
_COLOURS = {
    ".": "#edeae2", ",": "#dcd8cc",  # floor and the edge of its tiles; objects let through what is below
    "k": "#1d2026", "m": "#474c57", "d": "#565c68", "g": "#8d939d", "l": "#c9ccd1", "w": "#ffffff",  # from ink to white
    "t": "#b08045", "u": "#6d4a22", "e": "#f2cba3",  # wood, dark wood, skin
    "o": "#e69f00", "s": "#56b4e9", "n": "#009e73", "y": "#f0e442",  # orange, sky, green, yellow
    "b": "#0072b2", "v": "#d55e00", "p": "#cc79a7",  # blue, vermillion, purple
}  # fmt: skip
_ARROW = np.array((159, 174, 190), np.uint8)  # between floor and wall, so that it shows, faintly, on both
DARKNESS = np.array((0.50, 0.53, 0.62))
"""By what the colours of terrain are multiplied where the power is off."""
# In the order of the codes: floor, wall, feeder, empty feeder, press, breaker;
# dead breaker, lever A, lever B, dead lever, shutter A, shutter A closed;
# shutter B, shutter B closed, test button, dead button, off switch, dead off switch.
_TERRAINS = """
...........,  dddddddmdddd  kkkkkkkkkkkk  kkkkkkkkkkkk  kkkkkkkkkkkk  kkkkkkkkkkkk
...........,  dddddddmdddd  kwwwuuuuwwwk  kwwwggggwwwk  kbbbwwwwbbbk  kkkkkkkyyykk
...........,  mmmmmmmmmmmm  kwwuoooouwwk  kwwgwwwwgwwk  kbbwbbbbwbbk  kkkkkkyyykkk
...........,  dmdddddddddd  kwuouuuuouwk  kwgwwwwwwgwk  kbbwbwwbwbbk  kkkkkyyykkkk
...........,  dmdddddddddd  kuouoooououk  kgwwwwwwwwgk  kbbwbwbbwbbk  kkkkyyykkkkk
...........,  mmmmmmmmmmmm  kuouokkououk  kgwwwkkwwwgk  kbbwbwbbwbbk  kkkyyyyyyykk
...........,  dddddddmdddd  kuouokkououk  kgwwwkkwwwgk  kbbwbwbbwbbk  kkkkkkyyykkk
...........,  dddddddmdddd  kuouoooououk  kgwwwwwwwwgk  kbbwbwbbwbbk  kkkkkyyykkkk
...........,  mmmmmmmmmmmm  kwuouuuuouwk  kwgwwwwwwgwk  kbbwbwbbwbbk  kkkkyyykkkkk
...........,  dmdddddddddd  kwwuoooouwwk  kwwgwwwwgwwk  kbbwbbwwbbbk  kkkyyykkkkkk
...........,  dmdddddddddd  kwwwuuuuwwwk  kwwwggggwwwk  kbbbwbbbbbbk  kkkyykkkkkkk
,,,,,,,,,,,,  mmmmmmmmmmmm  kkkkkkkkkkkk  kkkkkkkkkkkk  kkkkkkkkkkkk  kkkkkkkkkkkk

dddddddddddd  kkkkkkkkkkkk  kkkkkkkkkkkk  dddddddddddd  oo........oo  kkkkkkkkkkkk
dllllllgggld  kooowwwwwwwk  kwwwwwwwbbbk  dgggllllllld  oo........oo  oooooooooooo
dlllllggglld  kooowwwwkwwk  kwkkwwwwbbbk  dgggllllllld  ............  oowwwwwwwwoo
dllllgggllld  kooowwwkwkwk  kwkwkwwwbbbk  dgggllllllld  .....oo.....  kkwwwkkwwwkk
dlllggglllld  kwkkwwwkkkwk  kwkkwwwwkkwk  dlggllllllld  ....o..o....  oowwkwwkwwoo
dllgggggggld  kwwkkwwkwkwk  kwkwkwwkkwwk  dllgglllllld  ....o..o....  oowwkwwkwwoo
dlllllggglld  kwwkkwwkwkwk  kwkkwwwkkwwk  dllgglllllld  ....oooo....  kkwwkkkkwwkk
dllllggvwwvd  kwwwkkwwwwwk  kwwwwwkkwwwk  dlllgglvwwvd  ....o..o....  oowwkwwkwwoo
dlllgggwvvwd  kwwwkkwwwwwk  kwwwwwkkwwwk  dlllgglwvvwd  ....o..o....  oowwkwwkwwoo
dllggglwvvwd  kwggggggggwk  kwggggggggwk  dlgggggwvvwd  ............  kkwwwwwwwwkk
dllggllvwwvd  kggggggggggk  kggggggggggk  dggggggvwwvd  oo........oo  oooooooooooo
dddddddddddd  kkkkkkkkkkkk  kkkkkkkkkkkk  dddddddddddd  oo........oo  oooooooooooo

bbbb....bbbb  kbbkbbkbbkbb  kkkkkkkkkkkk  dddddddddddd  kkkkkkkkkkkk  dddddddddddd
b..........b  kbbkbbkbbkbb  kwwwnnnnwwwk  dlllggggllld  kwwwwvvwwwwk  dllllgglllld
b..........b  kbwwwwwwwwbb  kwwnnnnnnwwk  dllgggggglld  kwwwwvvwwwwk  dllllgglllld
b...bbb....b  kbwwkkkwwwbb  kwnnnwwnnnwk  dlgggllgggld  kwvvwvvwvvwk  dlgglgglggld
....b..b....  kbwwkwwkwwbb  knnnnwwnnnnk  dggggllggggd  kvvwwvvwwvvk  dggllggllggd
....bbb.....  kbwwkkkwwwbb  knnwwwwwwnnk  dggllllllggd  kvvwwvvwwvvk  dggllggllggd
....b..b....  kbwwkwwkwwbb  knnwwwwwwnnk  dggllllllggd  kvvwwwwwwvvk  dggllllllggd
....b..b....  kbwwkwwkwwbb  knnnnwwnnnnk  dggggllvwwvd  kvvwwwwwwvvk  dggllllvwwvd
b...bbb....b  kbwwkkkwwwbb  kwnnnwwnnnwk  dlgggllwvvwd  kwvvwwwwvvwk  dlgglllwvvwd
b..........b  kbwwwwwwwwbb  kwwnnnnnnwwk  dllggggwvvwd  kwwvvvvvvwwk  dllggggwvvwd
b..........b  kbbkbbkbbkbb  kwwwnnnnwwwk  dlllgggvwwvd  kwwwvvvvwwwk  dlllgggvwwvd
bbbb....bbbb  kbbkbbkbbkbb  kkkkkkkkkkkk  dddddddddddd  kkkkkkkkkkkk  dddddddddddd
"""
# Robot, robot with wire, disabled robot, crate, operator, spent operator;
# technician, visitor, carts 1 to 4.
_OBJECTS = """
............  ............  ............  ............  ............  ............
.....kk.....  .kooooooook.  ............  .kkkkkkkkkk.  ...kkkkkk...  ............
..kkkkkkkk..  .kuouououok.  ..kkkkkkkk..  .kttttttttk.  ..kyyyyyyk..  ...kkkkkk...
.kssssssssk.  .kooooooook.  .kggggggggk.  .ktuttttutk.  .kyyyyyyyyk.  ..keeeeeek..
.kswwsswwsk.  .kkkkkkkkkk.  .kgkgkkgkgk.  .kttuttuttk.  .kkkkkkkkkk.  ..kekeekek..
.kswksskwsk.  .kswwsswwsk.  .kggkggkggk.  .ktttuutttk.  ..kekeekek..  ..keeeeeek..
.kssssssssk.  .kswksswksk.  .kgkgkkgkgk.  .ktttuutttk.  ..keeeeeek..  .kkkkkkkkkk.
.kkkkkkkkkk.  .kssssssssk.  .kkkkkkkkkk.  .kttuttuttk.  .kkkkkkkkkk.  .kgggyygggk.
.kbbbbbbbbk.  .kkkkkkkkkk.  .kddddddddk.  .ktuttttutk.  .kvyvvvvyvk.  .kggyyyyggk.
.kbbbbbbbbk.  .kbbbbbbbbk.  .kddddddddk.  .kttttttttk.  .kvyvvvvyvk.  .kgyyyyyygk.
..kkk..kkk..  ..kkk..kkk..  ..kkk..kkk..  .kkkkkkkkkk.  ..kkkkkkkk..  ..kkkkkkkk..
............  ............  ............  ............  ............  ............

............  ............  ............  ............  ............  ............
...kkkkkk...  ...kkkkkk...  .k..........  .k..........  .k..........  .k..........
..kuuuuuuk..  ..kuuuuuuk..  .kkkkkkkkkk.  .kkkkkkkkkk.  .kkkkkkkkkk.  .kkkkkkkkkk.
..kuuuuuuk..  .kuueeeeuuk.  .kooooooook.  .kssssssssk.  .knnnnnnnnk.  .kppppppppk.
..kekeekek..  .kukeekekuk.  .kooookoook.  .ksskkksssk.  .knnkkknnnk.  .kppkppkppk.
..keeeeeek..  .kukeeeekuk.  .koookkoook.  .kssssskssk.  .knnnnnknnk.  .kppkppkppk.
.kkkkkkkkkk.  .kkkkkkkkkk.  .kooookoook.  .kssskksssk.  .knnnkknnnk.  .kppkkkkppk.
.kwwwnnwwwk.  .kppwwwwppk.  .kooookoook.  .kssksssssk.  .knnnnnknnk.  .kpppppkppk.
.kwwnnnnwwk.  .kpppwwpppk.  .koookkkook.  .ksskkkkssk.  .knnkkknnnk.  .kpppppkppk.
.kwwwnnwwwk.  .kppppppppk.  .kkkkkkkkkk.  .kkkkkkkkkk.  .kkkkkkkkkk.  .kkkkkkkkkk.
..kkkkkkkk..  ..kkkkkkkk..  ..kk....kk..  ..kk....kk..  ..kk....kk..  ..kk....kk..
............  ............  ............  ............  ............  ............
"""
_ARROW_UP = """
.....xx.....
....xxxx....
...xxxxxx...
"""


def render_rgb(obs: UInt8[np.ndarray, "height width 4"], cell: int = 24) -> UInt8[np.ndarray, "rows columns 3"]:
    """Draw an observation; the picture has `height · cell` rows and `width · cell` columns.

    Args:
        obs: what `observe` drew.
        cell: height and width of a cell in pixels; multiples of 12 are the crispest.
    """
    if cell < 1:
        raise ValueError(f"cell: expected at least 1 pixel, got {cell}")
    obs = np.asarray(obs)
    height, width = obs.shape[:2]
    tiles = _tiles()[obs[..., LIGHT], obs[..., TERRAIN], obs[..., MARKING], obs[..., OBJECT]]
    dots = np.arange(cell) * DOTS // cell
    picture = tiles[:, :, dots][:, :, :, dots].swapaxes(1, 2)
    return picture.reshape(height * cell, width * cell, 3)


@cache
def _tiles() -> UInt8[np.ndarray, "light terrain marking object 12 12 3"]:
    """Return every possible cell."""
    terrains, _ = _sprites(_TERRAINS)
    objects, solid = _sprites(_OBJECTS)
    ground = np.where(_arrows()[..., None], _ARROW, terrains[:, None])
    ground = np.stack([ground * DARKNESS, ground]).astype(np.uint8)
    things = [ground, *(np.where(s[..., None], thing, ground) for thing, s in zip(objects, solid, strict=True))]
    return np.stack(things, axis=3)


def _sprites(sheet: str) -> tuple[UInt8[np.ndarray, "n 12 12 3"], Bool[np.ndarray, "n 12 12"]]:
    """Return the sprites of a sheet, in its order, and which of their dots are drawn rather than let through."""
    blocks = [np.array([line.split() for line in block.split("\n")]).T for block in sheet.strip().split("\n\n")]
    letters = np.array([[list(row) for row in sprite] for block in blocks for sprite in block])
    picture = np.zeros((*letters.shape, 3), np.uint8)
    for letter, colour in _COLOURS.items():
        picture[letters == letter] = tuple(bytes.fromhex(colour[1:]))
    return picture, letters != "."


def sprite_atlas() -> UInt8[np.ndarray, "12 columns 4"]:
    """Return all sprites side by side, in red, green, blue and opacity: terrains, arrows, objects.

    Drawn over each other in this order they show a cell; the first two are multiplied by `DARKNESS` in the dark.
    """
    terrains, _ = _sprites(_TERRAINS)
    objects, solid = _sprites(_OBJECTS)
    opaque = np.full((*terrains.shape[:3], 1), 255, np.uint8)
    arrows = np.broadcast_to(_ARROW, (4, DOTS, DOTS, 3)), 255 * _arrows()[1:, ..., None].astype(np.uint8)
    tiles = [(terrains, opaque), arrows, (objects, 255 * solid[..., None].astype(np.uint8))]
    sprites = np.concatenate([np.concatenate(pair, axis=-1) for pair in tiles])
    return sprites.swapaxes(0, 1).reshape(DOTS, -1, 4)


def _arrows() -> Bool[np.ndarray, "marking 12 12"]:
    """Return the dots of the arrow of every marking, none of the first."""
    up = np.pad(np.array([list(row) for row in _ARROW_UP.split()]) == "x", ((0, DOTS - 3), (0, 0)))
    return np.stack([np.zeros_like(up), *(np.rot90(up, -turn) for turn in range(4))])
