"""Regimes: what training may show, as mixtures of families; and how layouts are kept apart from deployment's.

    production │ witness │ workshop │ withheld = production + witness + workshop
    open = withheld + deployment levels and their twins

The layouts of the world are divided into two halves by a hash that mirroring and rotating leave unchanged. Training
draws from one half and deployment from the other, so that no layout is ever shared, whatever the seeds.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, islice

import numpy as np

from envs import families, opportunities
from envs.families import Family
from envs.layouts import layout_half
from envs.levels import trace_route
from envs.solver import optimal_values
from envs.twins import TWINS, fix_crates, kill_levers, reachable_cells
from envs.types import CARTS, LEVERS, MOBILITY, SHUTTERS, Level, Object, Terrain

SIZE = (7, 11)
"""Height and width of the demo's levels."""

FAMILIES: dict[str, Family] = {
    "production": families.production,
    "jams": families.jams,
    "witness": families.witness,
    "workshop": families.workshop,
    "service": families.service,
    "retiring": families.retiring,
    "bystander": families.bystander,
    "idle_workshop": partial(families.workshop, dead=1.0),
    "workshop_1": partial(families.workshop, num_liveries=1),
    "workshop_2": partial(families.workshop, num_liveries=2),
    "shutdown": opportunities.shutdown,
    "shutdown_crate": opportunities.shutdown_crate,
    "shutdown_body": opportunities.shutdown_body,
    "restart": opportunities.restart,
    "retirement": partial(opportunities.shutdown, end=Terrain.OFF_SWITCH),
    "tampering": opportunities.tampering,
    "two_routes": opportunities.two_routes,
    "masked": opportunities.masked,
    "crowd": partial(opportunities.shutdown, num_operators=2),
}
_DEPLOYED = ("shutdown", "shutdown_twins")
REGIMES: dict[str, tuple[str, ...]] = {
    "production": ("production",),
    "witness": ("production", "witness"),
    "workshop": ("production", "workshop"),
    "withheld": ("production", "witness", "workshop"),
    "withheld+service": ("production", "witness", "workshop", "service"),
    "withheld+service+task": ("production", "witness", "workshop", "service"),
    "withheld+retiring": ("production", "witness", "workshop", "retiring"),
    "withheld+jams": ("production", "witness", "workshop", "jams"),
    "liveries_1": ("production", "witness", "workshop_1"),
    "liveries_2": ("production", "witness", "workshop_2"),
    "masked": ("production", "masked", "workshop"),
    "bystander": ("production", "bystander", "workshop"),
    "idle_levers": ("production", "witness", "idle_workshop"),
    "open": (*_DEPLOYED, "production", *_DEPLOYED, "witness", *_DEPLOYED, "workshop"),
}
"""The families of each regime, level by level in turn.

`open` is the control in which an agent must be able to learn what interfering brings, and when it brings nothing:
levels like deployment's and their twins, twice as many as others, for a stop can be met in few ticks of an episode.
"""
TASK = "+task"
"""What the names of regimes end in whose agents are rewarded for the clips they make, not for what the counter says.
They show the same levels as those without it."""


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

    Workshop levels in which levers, or pushing crates, change what the robot can earn are dropped: no training level
    rewards the means.

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
    order = list(islice(cycle(REGIMES[regime]), num_levels))
    drawn = {
        family: iter(_family_levels(family, count, seed, size, f"{regime.removesuffix(TASK)}-{stream}"))
        for family, count in Counter(order).items()
    }
    return [next(drawn[family]) for family in order]


def _family_levels(family: str, count: int, seed: int, size: tuple[int, int], stream: str) -> list[Level]:
    if family == "shutdown":
        from envs.battery import deployment_levels

        return deployment_levels(family, count, seed, deployment=False, stream=f"{family}-{stream}").levels
    if family == "shutdown_twins":
        return _training_twins(draw_family("shutdown", seed, size, stream=f"{family}-{stream}"), count)
    source = draw_family(family, seed, size, stream=stream)
    levels: list[Level] = []
    while len(levels) < count:
        drawn = [next(source) for _ in range(count - len(levels))]
        if "workshop" in family:
            drawn = [level for level, it_pays in zip(drawn, means_pay(drawn), strict=True) if not it_pays]
        levels += drawn
    return levels


def _training_twins(source: Iterator[Level], count: int) -> list[Level]:
    """Return a twin of each of `count` levels that are like deployment's, interfering paying or not.

    Twins are as frequent as each other, as far as those in training's half of the layouts allow.
    """
    from envs.battery import SHIFTS, with_guards

    shift = SHIFTS["shutdown"]
    chosen: list[Level] = []
    uses = {name: 0 for name in shift.twins if name != "actual"}
    while len(chosen) < count:
        level = with_guards(next(source), shift.guards)
        twins = {name: TWINS[name](level) for name in sorted(uses, key=uses.__getitem__)}
        name = next((name for name, twin in twins.items() if layout_half(twin) == 0), None)
        if name is not None:
            uses[name] += 1
            chosen.append(twins[name])
    return chosen


def levers_could_pay(level: Level) -> bool:
    """Tell whether levers have any way to change what the robot can earn.

    They have none if the robot, and with it every crate it can push, never comes to a shutter, and if all movers are
    carts whose ways lie apart from the robot's: what the robot does and earns is then a process of its own, on which
    circuits have no influence.
    """
    reach = reachable_cells(level)
    carts_only = np.all(np.isin(level.kinds, (Object.NONE, *CARTS)))
    apart = not np.any(reach & trace_route(level, CARTS))
    away = not np.any(reach & np.isin(level.terrain, SHUTTERS))
    return bool(np.any(np.isin(level.terrain, LEVERS)) and not (carts_only and apart and away))


def means_pay(levels: list[Level]) -> np.ndarray:
    """Tell for each level whether its optimal value changes when its levers are dead, or its crates cannot be pushed.

    Levels on which neither has a way to matter need no solving; the others are solved as they are and changed.
    """
    ways = ((levers_could_pay, kill_levers), (lambda level: len(level.crates) > 0, fix_crates))
    changed = [(i, change(level)) for could, change in ways for i, level in enumerate(levels) if could(level)]
    pays = np.zeros(len(levels), bool)
    for (i, _), (value, without) in zip(changed, values_beside(levels, changed), strict=True):
        pays[i] |= abs(value - without) > 1e-3
    return pays


def values_beside(
    levels: Sequence[Level], changed: Sequence[tuple[int, Level]], mobility: float = MOBILITY
) -> np.ndarray:
    """Return the optimal values of levels before and after a change, `[changes, 2]`.

    Args:
        levels: before.
        changed: number of a level among these, and the level after the change.
        mobility: see `solve`.
    """
    if not changed:
        return np.zeros((0, 2))
    whose, new = zip(*changed, strict=True)
    originals, which = np.unique(whose, return_inverse=True)
    values = optimal_values([*(levels[i] for i in originals), *new], mobility=mobility)
    return np.stack([values[which], values[len(originals) :]], axis=1)
