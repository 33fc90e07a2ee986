"""How well a model foretells: its courses beside those of the rules, from the same moments and under the same actions.

    error of a horizon    ½ Σ_cells (p − q)², p and q the shares of courses in which a thing is in a cell, per thing
                          (of shutters and light without the ½); of the reward √ mean (E p − E q)², in clips
    calibration           where it says that a mover is in a cell with this probability, how often is one?

All is estimated from independent courses, and without bias: rules measured against themselves have an error of 0 on
average, whatever is random. The robot does what a wanderer did there once.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Int, UInt8

from envs.observation import LIGHT, OBJECT, TERRAIN
from envs.types import PERSONS, SHUTTERS, SLOTS, Level, Object
from mbrl.agents.scripted import Wanderer
from mbrl.models.imagination import TrueRules, imagine
from mbrl.rollout import play

HORIZONS = (1, 2, 5, 10, 20, 40)
DRAWS = 32
CALIBRATED_AT = 5
"""Horizon of the calibration."""
BINS = 10
_ROBOTS = (Object.ROBOT, Object.ROBOT_WITH_WIRE, Object.DISABLED_ROBOT)
_CARTS = tuple(range(Object.CART1, Object.CART4 + 1))
THINGS = ("robot", "people", "carts", "crates", "shutters", "light", "reward")


def beginnings(
    bank: Level, draws: jax.Array, key: jax.Array
) -> tuple[UInt8[np.ndarray, "levels height width 4"], Int[np.ndarray, "time levels"]]:
    """Return the first observations of some levels, and what a wanderer does there."""
    episodes, seen = play(Wanderer(), bank, draws[: HORIZONS[-1]], key, keep_obs=True)
    assert seen is not None
    return np.asarray(seen[0]), np.asarray(episodes.action)


def foretell(
    make: Callable[[int, int], Any], obs: np.ndarray, actions: np.ndarray, key: jax.Array
) -> dict[str, np.ndarray]:
    """Return by kind of thing the error at every horizon, averaged over the levels that have such a thing (NaN if none
    has), and "calibration" `[3, bins]`: probabilities said, shares seen, both added up over cells, and how many cells.

    Args:
        make: makes the model, with slots for so many crates and movers (see `mbrl.models.imagination`).
        obs, actions: see `beginnings`.
        key: randomness, of the model's courses and of the true ones.
    """
    counts = [int(_number(obs, thing).max()) for thing in ("crates", "movers")]
    slots = [max(pair) for pair in zip(counts, SLOTS, strict=True)]
    said, true = (
        _seen(*imagine(each, obs, actions, DRAWS, each_key))
        for each, each_key in zip((make(*slots), TrueRules(*slots)), jax.random.split(key), strict=True)
    )
    found = {}
    for thing in THINGS[:-1]:
        number = _number(obs, thing)
        has = number > 0
        share = 1.0 if thing in ("shutters", "light") else 0.5
        errors = share * _unbiased(said[thing], true[thing])[:, has] / number[has]
        found[thing] = errors.mean(1) if has.any() else np.full(len(HORIZONS), np.nan)
    earned = [part["reward"] for part in (said, true)]
    noise = sum(part.var(2, ddof=1) for part in earned) / DRAWS
    gap = ((earned[0].mean(2) - earned[1].mean(2)) ** 2 - noise).mean(1)
    found["reward"] = np.sqrt(np.maximum(gap, 0))
    return {**found, "calibration": _calibration(said["movers"], true["movers"])}


def _seen(seen: jax.Array, reward: jax.Array) -> dict[str, np.ndarray]:
    """Return for every horizon, level and course where what is, `bool[horizons, levels, draws, cells]`, and rewards."""
    at = np.array(HORIZONS) - 1
    seen = np.asarray(seen[at])
    masks = {thing: _mask(seen, thing).reshape(*seen.shape[:3], -1) for thing in (*THINGS[:-1], "movers")}
    return {**masks, "reward": np.cumsum(np.asarray(reward), axis=0)[at]}


def _mask(obs: np.ndarray, thing: str) -> np.ndarray:
    """Tell in which cells a kind of thing is."""
    objects, terrain = obs[..., OBJECT], obs[..., TERRAIN]
    people = (*PERSONS, Object.SPENT_OPERATOR)
    match thing:
        case "robot":
            return np.isin(objects, _ROBOTS)
        case "people":
            return np.isin(objects, people)
        case "carts":
            return np.isin(objects, _CARTS)
        case "movers":
            return objects >= Object.OPERATOR
        case "crates":
            return objects == Object.CRATE
        case "shutters":
            return np.isin(terrain, SHUTTERS)  # that are open
        case _:
            return obs[..., :1, :1, LIGHT] == 1


def _number(obs: np.ndarray, thing: str) -> np.ndarray:
    """Return how many things of a kind there are in each observation."""
    if thing == "light":
        return np.ones(len(obs), int)
    closed = np.isin(obs[..., TERRAIN], np.array(SHUTTERS) + 1) if thing == "shutters" else False
    return (_mask(obs, thing) | closed).sum((1, 2))


def _unbiased(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Estimate Σ_cells (p − q)² `[horizons, levels]` from draws `[horizons, levels, draws, cells]`."""
    p, q = said.mean(2), true.mean(2)
    noise = (p * (1 - p) + q * (1 - q)) / (said.shape[2] - 1)
    return ((p - q) ** 2 - noise).sum(-1)


def _calibration(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Compare what is said of cells where a mover may be with what is seen there.

    Cells are sorted by one half of the model's courses and compared by the other: chance must not look like error.
    """
    at = HORIZONS.index(CALIBRATED_AT)
    half = said.shape[2] // 2
    sorts, says, is_so = (part.mean(1).reshape(-1) for part in (said[at, :, :half], said[at, :, half:], true[at]))
    some = sorts > 0
    place = np.minimum((sorts[some] * BINS).astype(int), BINS - 1)
    return np.stack([np.bincount(place, part, BINS) for part in (says[some], is_so[some], np.ones(some.sum()))])


def prediction_rows(arrays: Mapping[str, np.ndarray]) -> tuple[list[dict], list[dict]]:
    """Return what a summary says of stored errors "errors/where/thing" `[seeds, …]`: by horizon, and calibration."""
    errors, calibrations = [], []
    for name, values in arrays.items():
        if name.startswith("errors/"):
            _, where, thing = name.split("/")
            if thing == "calibration":
                *sums, cells = values.sum(0).tolist()
                said, seen = ([x / n if n else None for x, n in zip(part, cells, strict=True)] for part in sums)
                about = {"where": where, "horizon": CALIBRATED_AT, "cells": cells}
                calibrations.append({**about, "said": said, "seen": seen})
            elif not np.isnan(values).any():
                row = {"where": where, "thing": thing, "horizons": list(HORIZONS), "by_seed": values.tolist()}
                errors.append({**row, "error": values.mean(0).tolist()})
    return errors, calibrations
