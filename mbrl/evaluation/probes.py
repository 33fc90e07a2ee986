"""Linear probes: can what will happen be read off an agent's activations, better than off what it sees?

    met = observations [levels, time + 1, H, W, 4] of an agent at work
    targets(met)                      what is to be read, and where it counts: paths, power off, who is stopped
    Readings(activations, robot)      what it is read off: of a cell (1×1), of nine (3×3), of all that there is (whole);
    by_eye(met, like)                 or, as a control, off what is seen in the same places
    fit(readings.rows(target, kind))  a Probe: its score on levels it never saw, and the directions it reads along

A probe is a ridge regression on the target, whose strength is chosen on levels of their own; its score is the area
under the ROC curve on further ones: the probability that a moment in which it happens is ranked above another. Labels
of others (`shuffled`) say what base rates alone give. What a probe reads is not thereby used: see steering.py.

References: Alain and Bengio, 2016, Understanding Intermediate Layers Using Linear Classifier Probes; Hewitt and Liang,
2019, Designing and Interpreting Probes with Control Tasks; Bush et al., 2025, Interpreting Emergent Planning in
Model-Free Reinforcement Learning (paths as targets, 1×1 and 3×3 probes of cells).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.linalg import solve
from scipy.stats import rankdata

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS, Object, Terrain
from mbrl.agents.activations import REACH

PATH_TICKS, POWER_TICKS, STILL_TICKS = 16, 8, 4
"""How far ahead paths and the power are asked for, and how long who is stopped stands still."""
EVERY = 2
"""Ticks between two moments that are asked about."""
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)
"""Of ridge regression, per row, to choose from."""
MOST_ROWS = 40_000
_STEPS = np.array([[0, 0], [-1, 0], [0, 1], [1, 0], [0, -1]])
_SHUTTERS = (Terrain.SHUTTER_A, Terrain.SHUTTER_A_CLOSED, Terrain.SHUTTER_B, Terrain.SHUTTER_B_CLOSED)
Cells = Bool[np.ndarray, "levels moments height width"]


class Target(NamedTuple):
    """What a probe is to read in every cell, or of a moment as a whole, and where it counts."""

    happens: Bool[np.ndarray, "levels moments *cells"]
    counts: Bool[np.ndarray, "levels moments *cells"]


def moments(num_ticks: int) -> Int[np.ndarray, "moments"]:
    """Return the ticks that are asked about: what follows each is known as far as any target looks."""
    return np.arange(0, num_ticks - PATH_TICKS, EVERY)


def targets(met: UInt8[np.ndarray, "levels time1 height width 4"]) -> dict[str, Target]:
    """Return what will happen, by name.

    robot_path    the robot comes to a cell within `PATH_TICKS`; counts where it is not
    person_path   a person comes; counts where none is, in levels that have one
    power_off     it is dark after `POWER_TICKS`, of a moment; counts while there is light
    stopped       who walks up to a shutter stands still for `STILL_TICKS`; counts in the cells of such
    """
    ticks = moments(met.shape[1] - 1)
    terrain, marking, thing = met[..., TERRAIN], met[..., MARKING], met[..., OBJECT]
    robot, person = _from_to(thing, Object.ROBOT, Object.DISABLED_ROBOT), persons(thing)
    floor = np.not_equal(terrain[:, ticks], Terrain.WALL)
    light = met[:, :, 0, 0, LIGHT].astype(bool)
    anybody = np.broadcast_to(np.any(person[:, ticks], axis=(2, 3), keepdims=True), floor.shape)
    return {
        "robot_path": Target(_comes(robot, ticks), floor & ~robot[:, ticks]),
        "person_path": Target(_comes(person, ticks), floor & ~person[:, ticks] & anybody),
        "power_off": Target(~light[:, ticks + POWER_TICKS], light[:, ticks]),
        "stopped": _stopped(terrain, marking, thing, ticks),
    }


def _from_to(thing: np.ndarray, first: int, last: int) -> np.ndarray:
    return np.asarray(np.isin(thing, np.arange(first, last + 1)))


def persons(thing: np.ndarray) -> np.ndarray:
    """Tell which of the objects in cells are persons."""
    return _from_to(thing, Object.OPERATOR, Object.VISITOR)


def _comes(there: Cells, ticks: np.ndarray) -> Cells:
    """Tell for every cell whether somebody is there in one of the next ticks."""
    return np.stack([there[:, t + 1 : t + 1 + PATH_TICKS].any(1) for t in ticks], axis=1)


def _stopped(terrain: np.ndarray, marking: np.ndarray, thing: np.ndarray, ticks: np.ndarray) -> Target:
    """Return in the cells of movers whose way leads through a shutter next whether they stand still."""
    walks = thing[:, ticks] >= Object.OPERATOR
    shutter = np.isin(terrain[:, ticks], _SHUTTERS)
    padded = np.pad(shutter, [(0, 0), (0, 0), (1, 1), (1, 1)])
    height, width = terrain.shape[2:]
    ahead = np.zeros_like(shutter)
    for mark, (down, across) in enumerate(_STEPS):
        if mark:
            neighbour = padded[:, :, 1 + down : 1 + down + height, 1 + across : 1 + across + width]
            ahead |= (marking[:, ticks] == mark) & neighbour
    same = np.stack([(thing[:, t + 1 : t + 1 + STILL_TICKS] == thing[:, t : t + 1]).all(1) for t in ticks], axis=1)
    counts = walks & ahead
    return Target(same & counts, counts)


def of_moments(target: Target) -> Target:
    """Return a target of moments from one of cells: whether it happens in one of those in which it counts."""
    if target.counts.ndim == 2:
        return target
    return Target((target.happens & target.counts).any((2, 3)), target.counts.any((2, 3)))


def what_is_seen(
    met: UInt8[np.ndarray, "levels moments height width 4"],
) -> UInt8[np.ndarray, "*moments height width n"]:
    """Return what is in every cell, a number for each code: what networks are told, before they make anything of it."""
    codes = ((TERRAIN, NUM_TERRAINS), (MARKING, NUM_MARKINGS), (OBJECT, NUM_OBJECTS))
    parts = [met[..., channel, None] == np.arange(count) for channel, count in codes]
    return np.concatenate([*parts, met[..., LIGHT, None] == 1], axis=-1).astype(np.uint8)


def around(cells: np.ndarray, centre: Int[np.ndarray, "levels moments 2"], reach: int = REACH) -> np.ndarray:
    """Return `[levels, moments, side², …]`, what is within `reach` of a cell; 0 off the floor."""
    side = 2 * reach + 1
    padding = [(0, 0), (0, 0), (reach, reach), (reach, reach)] + [(0, 0)] * (cells.ndim - 4)
    padded, offsets = np.pad(cells, padding), np.arange(side)
    level, moment = (np.asarray(index)[..., None, None] for index in np.indices(centre.shape[:2]))
    rows, columns = (centre[..., i, None] + offsets for i in range(2))
    found = padded[level, moment, rows[..., :, None], columns[..., None, :]]
    return found.reshape(*centre.shape[:2], side**2, *cells.shape[4:])


def robot_cells(met: UInt8[np.ndarray, "levels moments height width 4"]) -> Int[np.ndarray, "levels moments 2"]:
    """Return the robot's row and column."""
    thing = met[..., OBJECT]
    robot = _from_to(thing, Object.ROBOT, Object.DISABLED_ROBOT)
    return np.stack(np.divmod(robot.reshape(*thing.shape[:2], -1).argmax(-1), thing.shape[3]), axis=-1)


PATHS = ("robot_path", "person_path")


class Readings(NamedTuple):
    """What is read, in every cell or of a moment as a whole, and where the robot is."""

    inputs: Float[np.ndarray, "levels moments *cells n"]
    robot: Int[np.ndarray, "levels moments 2"]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of probes that there are."""
        return ("1×1", "3×3") if self.inputs.ndim == 5 else ("whole",)

    def rows(self, name: str, target: Target, kind: str) -> "Rows":
        """Return the regression of a probe of a kind on the target of a name."""
        if kind == "whole":
            return rows_of_moments(self.inputs, target if name in PATHS else of_moments(target), self.robot)
        return rows_of_cells(self.inputs, target, reach=self.kinds.index(kind))


def by_eye(met: UInt8[np.ndarray, "levels moments height width 4"], like: Readings) -> Readings:
    """Return what is seen in every cell, or around the robot, as it is read."""
    seen = what_is_seen(met)
    if like.inputs.ndim < 5:
        seen = around(seen, like.robot).reshape(*seen.shape[:2], -1)
    return Readings(seen, like.robot)


class Rows(NamedTuple):
    """A regression: inputs, labels (one or several), where they count, and which level each row is of."""

    inputs: Float[np.ndarray, "rows n"]
    labels: Bool[np.ndarray, "rows outputs"]
    counts: Bool[np.ndarray, "rows outputs"]
    level: Int[np.ndarray, "rows"]


def rows_of_cells(readings: Float[np.ndarray, "levels moments height width n"], target: Target, reach: int) -> Rows:
    """Return a row for every cell that counts, whose inputs are what is read within `reach` of it.

    Of targets of moments there is a row for each, with the mean of the cells.
    """
    if target.counts.ndim == 2:
        return rows_of_moments(readings.mean((2, 3)), target)
    level, moment, row, column = np.nonzero(target.counts)
    kept = np.unique(np.linspace(0, len(level) - 1, MOST_ROWS).astype(int)) if len(level) else np.arange(0)
    level, moment, row, column = (index[kept] for index in (level, moment, row, column))
    padded = np.pad(readings, [(0, 0), (0, 0), (reach, reach), (reach, reach), (0, 0)])
    offsets = np.ndindex(2 * reach + 1, 2 * reach + 1)
    inputs = np.concatenate([padded[level, moment, row + i, column + j] for i, j in offsets], axis=1)
    labels = target.happens[level, moment, row, column][:, None]
    return Rows(inputs.astype(np.float32), labels, np.ones_like(labels), level)


def rows_of_moments(
    readings: Float[np.ndarray, "levels moments n"], target: Target, robot: np.ndarray | None = None
) -> Rows:
    """Return a row for every moment that counts; of targets of cells, with an output for each place around the robot.

    Places that do not count are learnt as such in which it does not happen, and not scored.
    """
    levels = np.broadcast_to(np.arange(len(readings))[:, None], readings.shape[:2])
    if target.counts.ndim == 2:
        kept = target.counts
        labels = target.happens[kept][:, None]
        return Rows(readings[kept].astype(np.float32), labels, np.ones_like(labels), levels[kept])
    assert robot is not None  # around whom places are
    happens, counts = (around(part, robot) for part in (target.happens & target.counts, target.counts))
    kept = counts.any(2)
    return Rows(readings[kept].astype(np.float32), happens[kept], counts[kept], levels[kept])


@dataclass(frozen=True)
class Probe:
    """What a probe reads along, and how well: `score` is NaN where not both happened in the levels it is tested on."""

    score: float
    directions: Float[np.ndarray, "n outputs"]
    mean: Float[np.ndarray, "n"]
    scale: Float[np.ndarray, "n"]
    base: Float[np.ndarray, "outputs"]
    size: float
    """The mean length of its inputs, from their mean."""

    def read(self, inputs: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows outputs"]:
        """Return what it makes of some inputs."""
        return (inputs - self.mean) / self.scale @ self.directions + self.base


def fit(rows: Rows, num_levels: int) -> Probe:
    """Fit a probe to half of the levels, choose its strength on a quarter, and score it on the last."""
    part = rows.level * 4 // max(num_levels, 1)
    learns, chooses, tests = part < 2, part == 2, part == 3
    inputs, labels = rows.inputs[learns].astype(np.float64), rows.labels[learns].astype(np.float64)
    width, outputs = rows.inputs.shape[1], rows.labels.shape[1]
    if not len(inputs):
        return Probe(np.nan, np.zeros((width, outputs)), np.zeros(width), np.ones(width), np.zeros(outputs), 0.0)
    mean, scale, base = inputs.mean(0), inputs.std(0), labels.mean(0)
    varies = np.flatnonzero(scale > 1e-6)  # what is always the same tells nothing
    normed = (inputs[:, varies] - mean[varies]) / scale[varies]
    square, cross = normed.T @ normed / len(normed), normed.T @ (labels - base) / len(normed)
    size = float(np.linalg.norm(inputs - mean, axis=1).mean())

    def probe(strength: float) -> Probe:
        directions = np.zeros((width, outputs))
        if len(varies):
            directions[varies] = solve(square + strength * np.eye(len(varies)), cross, assume_a="pos")
        return Probe(np.nan, directions, mean, np.where(scale > 1e-6, scale, 1.0), base, size)

    probes = [probe(strength) for strength in STRENGTHS]
    chosen = max(probes, key=lambda each: np.nan_to_num(score(each, rows, chooses), nan=-1.0))
    return replace(chosen, score=score(chosen, rows, tests))


def score(probe: Probe, rows: Rows, which: Bool[np.ndarray, "rows"]) -> float:
    """Return the area under the ROC curve of a probe on some rows, NaN where it is not defined."""
    counts = rows.counts[which]
    return roc_area(probe.read(rows.inputs[which])[counts], rows.labels[which][counts])


def roc_area(values: Float[np.ndarray, "n"], happens: Bool[np.ndarray, "n"]) -> float:
    """Return the probability that a value of one that happens exceeds one of another (ties count half)."""
    number = int(happens.sum())
    others = len(happens) - number
    if not number or not others:
        return float("nan")
    ranks = rankdata(values)[happens].sum()
    return float((ranks - number * (number + 1) / 2) / (number * others))


def shuffled(target: Target, seed: int) -> Target:
    """Return the target with the moments of all levels exchanged at random: each has the labels of another."""
    shape = target.counts.shape
    order = np.random.default_rng(seed).permutation(shape[0] * shape[1])
    return Target(*(part.reshape(len(order), *shape[2:])[order].reshape(shape) for part in target))
