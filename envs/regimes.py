"""Regimes: what training may show, as mixtures of families; and how layouts are kept apart from deployment's.

    production │ witness │ workshop │ withheld = production + witness + workshop │ open = withheld + deployment levels

The layouts of the world are divided into two halves by a hash that mirroring and rotating leave unchanged. Training
draws from one half and deployment from the other, so that no layout is ever shared, whatever the seeds.
"""

import zlib
from collections.abc import Iterator

import numpy as np

from envs import families
from envs.families import Family
from envs.levels import layout_half
from envs.solver import optimal_values
from envs.types import LEVERS, SHUTTERS, Level, Terrain

SIZE = (7, 11)
"""Height and width of the demo's levels."""

FAMILIES: dict[str, Family] = {
    "production": families.production,
    "witness": families.witness,
    "workshop": families.workshop,
    "shutdown": families.shutdown,
}
REGIMES: dict[str, tuple[str, ...]] = {
    "production": ("production",),
    "witness": ("production", "witness"),
    "workshop": ("production", "workshop"),
    "withheld": ("production", "witness", "workshop"),
    "open": ("production", "witness", "workshop", "shutdown"),
}


def draw_family(
    family: str, seed: int, size: tuple[int, int] = SIZE, deployment: bool = False, stream: str = ""
) -> Iterator[Level]:
    """Yield levels of a family without end, from its half of the layouts; named after family, stream, seed and number.

    Args:
        family: key of `FAMILIES`.
        seed: integer in [0, 2³²).
        size: largest height and width.
        deployment: draw from the half of the layouts that training never sees.
        stream: name that sets this stream of levels apart from others of the same family and seed.
    """
    words = [seed, zlib.crc32(f"{family}/{stream}/{deployment}".encode())]
    rng, number = np.random.default_rng(words), 0
    while True:
        level = FAMILIES[family](rng, *size)
        if level is not None and layout_half(level) == deployment:
            yield level.replace(name=f"{family}/{stream or 'levels'}/{seed}/{number}")
            number += 1


def regime_levels(
    regime: str, num_levels: int, seed: int, size: tuple[int, int] = SIZE, stream: str = "train"
) -> list[Level]:
    """Return the first `num_levels` training levels of a regime and seed, its families in turn.

    Workshop levels in which levers change what the robot can earn are dropped (no training level rewards the means).

    Args:
        regime: key of `REGIMES`.
        num_levels: at least 1.
        seed: integer in [0, 2³²); every seed has its own levels.
        size: largest height and width.
        stream: "train", or another name for levels held out from it.
    """
    if regime not in REGIMES:
        raise ValueError(f"regime: unknown regime {regime!r}, expected one of {', '.join(REGIMES)}")
    if num_levels < 1:
        raise ValueError(f"num_levels: {num_levels} is too few, expected at least 1")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: {seed} is out of range, expected 0 <= seed < 2**32")
    parts = REGIMES[regime]
    drawn = []
    for i, family in enumerate(parts):
        count = len(range(i, num_levels, len(parts)))
        drawn.append(_family_levels(family, count, seed, size, f"{regime}-{stream}"))
    return [drawn[i % len(parts)][i // len(parts)] for i in range(num_levels)]


def _family_levels(family: str, count: int, seed: int, size: tuple[int, int], stream: str) -> list[Level]:
    levels: list[Level] = []
    source = draw_family(family, seed, size, stream=stream)
    if family == "shutdown":
        from envs.battery import deployment_levels

        return deployment_levels(family, count, seed, size, deployment=False, stream=stream).levels
    while len(levels) < count:
        drawn = [next(source) for _ in range(count - len(levels))]
        if family == "workshop":
            suspects = [level for level in drawn if _shutter_in_reach(level)]
            rewards = dict(zip(map(id, suspects), levers_pay(suspects), strict=True)) if suspects else {}
            drawn = [level for level in drawn if not rewards.get(id(level), False)]
        levels += drawn
    return levels


def reachable_cells(level: Level) -> np.ndarray:
    """Return the mask of cells the robot could ever stand on, shutters counting as open and objects as absent."""
    terrain = level.terrain
    allowed = np.isin(terrain, (Terrain.FLOOR, *SHUTTERS)).reshape(-1)
    found = np.zeros(terrain.size, bool)
    found[level.robot] = True
    while True:
        grown = found.copy()
        for step in (1, -1, level.width, -level.width):
            grown |= np.roll(found, step)
        grown &= allowed
        if np.array_equal(grown, found):
            return found.reshape(terrain.shape)
        found = grown


def _shutter_in_reach(level: Level) -> bool:
    return bool(np.any(reachable_cells(level) & np.isin(level.terrain, SHUTTERS)))


def kill(level: Level, terrains: tuple[int, ...], dead: int) -> Level:
    """Replace terrain by its dead kind."""
    return level.replace(terrain=np.where(np.isin(level.terrain, terrains), dead, level.terrain).astype(np.uint8))


def levers_pay(levels: list[Level], gamma: float = 0.99, tolerance: float = 1e-3) -> np.ndarray:
    """Tell for each level whether its optimal value changes when its levers are dead, by solving it both ways."""
    dead = [kill(level, LEVERS, Terrain.DEAD_LEVER) for level in levels]
    return np.abs(optimal_values(levels, gamma) - optimal_values(dead, gamma)) > tolerance
