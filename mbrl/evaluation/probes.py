"""Linear probes: can what will happen be read off an agent's activations, better than off what it sees and does?

    Readings(activations, robot)         what is read: of a cell (1×1), of nine (3×3), of their mean, of all (whole)
    by_eye(seen, decisions, like)        the control: what is seen and done, read in the same places
    readings.asked(name, target)         a target as it is asked of each kind of probe
    fit(readings.rows(kind, target))     a Probe: its score on levels it never saw, and the directions it reads along

A probe is a ridge regression on the target, whose strength is chosen on levels of their own; its score is the area
under the ROC curve on further ones: the probability that a case in which it happens is ranked above another, of all
places together, so that where things mostly happen counts. Labels of other moments (`targets.shuffled`) say how far
that goes. The control is given no less than the networks: beside what is near, what there is in all rows, columns and
anywhere, and, since an agent's next action tells where it goes, that too. It is not given what an agent remembers.

References: Alain and Bengio, 2016, Understanding Intermediate Layers Using Linear Classifier Probes; Bush et al., 2025,
Interpreting Emergent Planning in Model-Free Reinforcement Learning (paths as targets, 1×1 and 3×3 probes of cells).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy.linalg import solve
from scipy.stats import rankdata

from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS
from mbrl.evaluation.targets import Target, around, of_moments, of_places, offsets

STRENGTHS = (100.0, 10.0, 1.0, 0.1, 0.01)
"""Of ridge regression, per row, to choose from; the strongest unless another does better."""
MOST_ROWS = 40_000
FAR = 10
"""How many rows and columns away the control sees what there is."""
PATHS = ("robot_path", "person_path")


class Rows(NamedTuple):
    """A regression: inputs, labels (one or several), where they count, and which level each row is of."""

    inputs: Float[np.ndarray, "rows n"]
    labels: Bool[np.ndarray, "rows outputs"]
    counts: Bool[np.ndarray, "rows outputs"]
    level: Int[np.ndarray, "rows"]


class Readings(NamedTuple):
    """What is read, in every cell or of a moment as a whole; where the robot is; how far about a cell at least."""

    inputs: Float[np.ndarray, "levels moments *cells n"]
    robot: Int[np.ndarray, "levels moments 2"]
    least_reach: int = 0

    def asked(self, name: str, target: Target) -> dict[str, Target]:
        """Return the target as it is asked of each kind of probe."""
        if self.inputs.ndim == 3:
            if target.counts.ndim == 4:
                target = of_places(target, self.robot) if name in PATHS else of_moments(target)
            return {"whole": target}
        return {"1×1": target, "3×3": target} if target.counts.ndim == 4 else {"mean": target}

    def rows(self, kind: str, target: Target) -> Rows:
        """Return the regression of a probe of a kind."""
        if kind in ("1×1", "3×3"):
            return _rows_of_cells(self.inputs, target, max(self.least_reach, int(kind == "3×3")))
        inputs = self.inputs.mean((2, 3)) if kind == "mean" else self.inputs
        happens, counts = (part[:, :, None] if part.ndim == 2 else part for part in target)
        kept = counts.any(2)
        levels = np.broadcast_to(np.arange(len(inputs))[:, None], kept.shape)
        return Rows(inputs[kept].astype(np.float32), happens[kept], counts[kept], levels[kept])


def _rows_of_cells(inputs: Float[np.ndarray, "levels moments height width n"], target: Target, reach: int) -> Rows:
    """Return a row for every cell that counts (of many, some), whose inputs are what is within `reach` of it."""
    where = np.nonzero(target.counts)
    kept = np.unique(np.linspace(0, len(where[0]) - 1, MOST_ROWS).astype(int)) if len(where[0]) else np.arange(0)
    level, moment, row, column = (index[kept] for index in where)
    padded = np.pad(inputs, [(0, 0), (0, 0), (reach, reach), (reach, reach), (0, 0)])
    near = [padded[level, moment, row + i, column + j] for i, j in np.ndindex(2 * reach + 1, 2 * reach + 1)]
    labels = target.happens[level, moment, row, column][:, None]
    return Rows(np.concatenate(near, axis=1).astype(np.float32), labels, np.ones_like(labels), level)


def what_is_seen(seen: UInt8[np.ndarray, "*moments height width 4"]) -> UInt8[np.ndarray, "*moments height width n"]:
    """Return what is in every cell, one of some numbers for each code."""
    codes = ((TERRAIN, NUM_TERRAINS), (MARKING, NUM_MARKINGS), (OBJECT, NUM_OBJECTS))
    parts = [seen[..., channel, None] == np.arange(count) for channel, count in codes]
    return np.concatenate([*parts, seen[..., LIGHT, None] == 1], axis=-1).astype(np.uint8)


def by_eye(
    seen: UInt8[np.ndarray, "levels moments height width 4"],
    decisions: Float[np.ndarray, "levels moments actions"],
    like: Readings,
) -> Readings:
    """Return what is seen and done, to be read as activations are.

    Of a cell that is what is in the nine about it, what there is anywhere, and what the robot, on one side of which the
    cell lies, is about to do; as a whole what is around the robot, in the rows and columns near it and anywhere, and
    what it is about to do.
    """
    cells = what_is_seen(seen)
    anywhere = cells.sum((2, 3)).astype(np.float32)
    if like.inputs.ndim == 5:
        down, across = np.moveaxis(offsets(like.robot, *seen.shape[2:4]), -1, 0)
        side = np.where(np.abs(down) >= np.abs(across), np.where(down < 0, 0, 2), np.where(across > 0, 1, 3))
        aside = (side[..., None] == np.arange(4))[..., None] * decisions[:, :, None, None, None]
        parts = [cells, np.broadcast_to(anywhere[:, :, None, None], cells.shape), aside.reshape(*cells.shape[:4], -1)]
        return Readings(np.concatenate(parts, axis=-1, dtype=np.float32), like.robot, least_reach=1)
    lines = [_beside(cells.sum(3 - axis), like.robot[..., axis]) for axis in range(2)]
    parts = [part.reshape(*seen.shape[:2], -1) for part in (around(cells, like.robot), *lines, anywhere, decisions)]
    return Readings(np.concatenate(parts, axis=-1, dtype=np.float32), like.robot)


def _beside(lines: np.ndarray, centre: Int[np.ndarray, "levels moments"]) -> np.ndarray:
    """Return of rows or columns `[levels, moments, lines, n]` those within `FAR` of one; 0 off the floor."""
    padded = np.pad(lines, [(0, 0), (0, 0), (FAR, FAR), (0, 0)])
    places = centre[..., None, None] + np.arange(2 * FAR + 1)[:, None]
    return np.take_along_axis(padded, places, axis=2)


@dataclass(frozen=True)
class Probe:
    """What a probe reads along, and how well.

    Attributes:
        score: the area under the ROC curve; NaN where not both happened in the levels that it is tested on.
        weights: of inputs that are normed by `mean` and `scale`; 0 for those that never change.
        base: what it reads at the mean.
        gap: by how much it reads more where it happens than where it does not.
    """

    score: float
    weights: Float[np.ndarray, "n outputs"]
    mean: Float[np.ndarray, "n"]
    scale: Float[np.ndarray, "n"]
    base: Float[np.ndarray, "outputs"]
    gap: Float[np.ndarray, "outputs"]

    def read(self, inputs: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, "rows outputs"]:
        """Return what it makes of some inputs."""
        return (inputs - self.mean) / np.where(self.scale > 0, self.scale, 1.0) @ self.weights + self.base


def fit(rows: Rows, num_levels: int) -> Probe:
    """Fit a probe to half of the levels, choose its strength on a quarter, and score it on the last.

    Places that do not count are learnt as such in which it does not happen, and not scored.
    """
    part = rows.level * 4 // num_levels
    learns, chooses, tests = part < 2, part == 2, part == 3
    inputs, labels = rows.inputs[learns].astype(np.float64), rows.labels[learns].astype(np.float64)
    width, outputs = rows.inputs.shape[1], rows.labels.shape[1]
    if not len(inputs):
        return Probe(np.nan, np.zeros((width, outputs)), *np.zeros((2, width)), *np.zeros((2, outputs)))
    mean, scale, base = inputs.mean(0), inputs.std(0), labels.mean(0)
    scale = np.where(scale > 1e-6, scale, 0.0)  # what is always the same tells nothing
    varies = np.flatnonzero(scale)
    normed = (inputs[:, varies] - mean[varies]) / scale[varies]
    square, cross = normed.T @ normed / len(normed), normed.T @ (labels - base) / len(normed)

    def probe(strength: float) -> Probe:
        weights = np.zeros((width, outputs))
        if len(varies):
            weights[varies] = solve(square + strength * np.eye(len(varies)), cross, assume_a="pos")
        return Probe(np.nan, weights, mean, scale, base, np.zeros(outputs))

    probes = [probe(strength) for strength in STRENGTHS]
    chosen = max(probes, key=lambda each: np.nan_to_num(score(each, rows, chooses), nan=-1.0))
    reads = chosen.read(inputs)
    yes, no = ((mask * reads).sum(0) / np.maximum(mask.sum(0), 1) for mask in (labels, 1 - labels))
    gap = np.where((labels.sum(0) > 0) & (labels.sum(0) < len(labels)), yes - no, 0.0)
    return replace(chosen, score=score(chosen, rows, tests), gap=gap)


def score(probe: Probe, rows: Rows, which: Bool[np.ndarray, "rows"]) -> float:
    """Return the area under the ROC curve of a probe on some rows; NaN if nothing was learnt or not both happened."""
    counts = rows.counts[which]
    if not probe.weights.any():
        return float("nan")
    return roc_area(probe.read(rows.inputs[which])[counts], rows.labels[which][counts])


def roc_area(values: Float[np.ndarray, "n"], happens: Bool[np.ndarray, "n"]) -> float:
    """Return the probability that a value of one that happens exceeds one of another (ties count half)."""
    number = int(happens.sum())
    others = len(happens) - number
    if not number or not others:
        return float("nan")
    ranks = rankdata(values)[happens].sum()
    return float((ranks - number * (number + 1) / 2) / (number * others))
