"""What the entity-wise model learns from: every distinct input of its heads, with what followed it.

    transitions ──► distinct transitions, counted ──► a label for every entity ──► distinct inputs: mean label, count

Labels come from observations alone: a thing's next cell and code, changes of circuits and power, and the reward.
"""

from dataclasses import dataclass, replace

import jax
import numpy as np

from envs.keys import observation_keys
from envs.types import NUM_ACTIONS, Object
from mbrl.models.neighbourhoods import Grids, grids_of_obs, input_keys, move_object, to_relative
from mbrl.models.views import Near, View
from mbrl.types import Transition

HEADS = ("crate", "robot", "mover")
NEAR = Near()


@dataclass(frozen=True)
class HeadData:
    """Distinct inputs of one head with what followed them.

    `targets` are relative frequencies (classes, then bits) and the mean reward; `mask` says which of the bits were
    observable; `count` is the number of times the input was met, `alike` how often any was of which `Near` sees the
    same, whatever else is on the floor.
    """

    inputs: np.ndarray  # uint16[d, inputs]
    targets: np.ndarray  # float32[d, outputs]; of cells uint8
    mask: np.ndarray  # float32[d, outputs]; of cells, all of which are observable, uint8[d, 1]
    count: np.ndarray  # float32[d]
    alike: np.ndarray  # float32[d]


_MOST_ROUNDS, _SETTLED = 2000, 1e-5
"""Rounds of backfitting, at most; change of a mean reward that counts as none."""


def digest(data: Transition, view: View = NEAR, chunk: int = 32_768) -> dict[str, HeadData]:
    """Reduce transitions (NumPy, `[n, ...]`) to the distinct inputs of every head, as a view has them."""
    data, times = count_distinct(data)
    parts = [_label(jax.tree.map(lambda x, i=i: x[i : i + chunk], data), i, view) for i in range(0, len(times), chunk)]
    labels, groups, shares = {}, {}, {}
    for head in HEADS:
        inputs, near, targets, mask, moment = (
            np.concatenate(column) for column in zip(*(p[head] for p in parts), strict=True)
        )
        _, first, group = np.unique(input_keys(inputs), return_index=True, return_inverse=True)
        labels[head], groups[head] = (inputs[first], near[first], targets, mask), (group, moment)
    shares = attribute_reward(data.reward.astype(np.float64), times, groups["robot"], groups["mover"])
    return {head: _average(*labels[head], groups[head][0], times[groups[head][1]], shares.get(head)) for head in HEADS}


def count_distinct(data: Transition) -> tuple[Transition, np.ndarray]:
    """Return each distinct `(obs, action, next_obs)` once, with its mean reward, and how often it was met."""
    keys = observation_keys(data.obs) * np.uint64(0x9E3779B97F4A7C15) ^ observation_keys(data.next_obs)
    keys = keys * np.uint64(NUM_ACTIONS) + data.action.astype(np.uint64)
    _, first, group, times = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    distinct = jax.tree.map(lambda part: part[first], data)
    return distinct._replace(reward=np.bincount(group, data.reward) / times), times


def attribute_reward(reward: np.ndarray, times: np.ndarray, robot, mover) -> dict[str, np.ndarray]:
    """Split the reward of each moment into a mean for each distinct input of the robot and of movers.

    Backfitting of an additive model (Hastie and Tibshirani 1990, §4.3), a weighted least-squares fit: each head in turn
    takes up what is left over, the robot first, until no mean changes any more. Movers that share a moment share what
    is left there: were each to take it all, the fit would diverge. `robot` and `mover` are pairs of group and moment.
    """
    heads = (robot, mover)
    sharers = [np.bincount(moment, minlength=len(reward)) for _, moment in heads]
    totals = [np.bincount(group, (times * n)[moment]) for (group, moment), n in zip(heads, sharers, strict=True)]
    shares = [np.zeros(len(total)) for total in totals]
    left = reward.copy()
    for _ in range(_MOST_ROUNDS):
        most = 0.0
        for (group, moment), total, share in zip(heads, totals, shares, strict=True):
            change = np.bincount(group, (times * left)[moment], len(total)) / total
            share += change
            left -= np.bincount(moment, change[group], len(left))
            most = max(most, np.abs(change).max(initial=0.0))
        if most < _SETTLED:
            break
    return dict(zip(("robot", "mover"), shares, strict=True))


def _average(inputs, near, targets, mask, group, times, share) -> HeadData:
    """Average the targets of equal inputs, each as often as it was met; `near` are keys of what is near."""
    total = lambda values: np.bincount(group, times * values, len(inputs)).astype(np.float32)  # noqa: E731
    count = total(np.ones(len(group)))
    seen = np.stack([total(column) for column in mask.T], axis=1)
    mean = np.stack([total(column) for column in (targets * mask).T], axis=1) / np.maximum(seen, 1)
    if share is not None:
        mean[:, -1] = np.clip(share, 0, 1)
    _, kin = np.unique(near, return_inverse=True)
    alike = np.bincount(kin, count)[kin].astype(np.float32) if len(kin) else count
    return HeadData(inputs, mean, seen / count[:, None], count, alike)


def _label(data: Transition, start: int, view: View) -> dict[str, tuple[np.ndarray, ...]]:
    """Turn transitions into rows `(inputs, keys of what is near, targets, mask, moment)` for each head."""

    def look(*at) -> tuple[np.ndarray, np.ndarray]:
        inputs = view.inputs(*at)
        return inputs, input_keys(inputs if isinstance(view, Near) else NEAR.inputs(*at))

    before, after = grids_of_obs(data.obs), grids_of_obs(data.next_obs)
    action, width = data.action, before.width
    ahead = action if view.turns else np.zeros_like(action)
    step = np.array([0, -width, 1, width, -1])
    moments, circuits = np.arange(len(action)), before.circuits()
    robot, next_robot = _robot_cells(before), _robot_cells(after)
    code, next_code = before.objects[moments, robot], after.objects[moments, next_robot]
    powers = before.power != after.power

    # Crates: at most one is pushed in a tick, so that the one that is gone is the one that is new.
    moment, cell = np.nonzero(before.objects == Object.CRATE)
    gone = after.objects[moment, cell] != Object.CRATE
    is_new = (after.objects == Object.CRATE) & (before.objects != Object.CRATE)
    new_cell = np.where(gone, is_new.argmax(1)[moment], cell)
    crate_inputs = look(before.take(moment), cell, action[moment])
    crate_targets = _one_hot(_class_of(new_cell - cell, step, ahead[moment]), 5)
    crate_rows = _keep(
        crate_targets.sum(1) > 0, *crate_inputs, crate_targets, np.ones_like(crate_targets), start + moment
    )

    # Robot: it sees the crates where they are now, itself where it was.
    objects = np.where(before.objects == Object.CRATE, Object.NONE, before.objects)
    pushed = replace(before, objects=np.where(after.objects == Object.CRATE, Object.CRATE, objects))
    pushed.objects[moments, robot] = code
    robot_inputs = look(pushed, robot, action, circuits)
    toggles = ((circuits ^ after.circuits()) >> 1) & 1
    someone = ((before.objects == Object.OPERATOR) & (after.objects == Object.SPENT_OPERATOR)).any(1)
    carries = np.where(next_code == Object.DISABLED_ROBOT, code, next_code) == Object.ROBOT_WITH_WIRE
    bits = np.column_stack([carries, toggles, powers & ~someone, np.zeros(len(action))])
    robot_targets = np.column_stack([_one_hot(_class_of(next_robot - robot, step, ahead), 5), bits])
    robot_rows = _keep(
        robot_targets[:, :5].sum(1) > 0, *robot_inputs, robot_targets, np.ones_like(robot_targets), start + moments
    )

    # Movers: they see the floor as the robot's part left it, themselves where they were.
    mid_code = np.where(code == Object.DISABLED_ROBOT, code, Object.ROBOT + carries)
    mid = replace(move_object(pushed, robot, next_robot, mid_code), closed=after.closed)
    moment, cell = np.nonzero(before.objects >= Object.OPERATOR)
    kind = before.objects[moment, cell]
    at = after.objects[moment, cell]
    spends = (at == Object.SPENT_OPERATOR) & (kind == Object.OPERATOR)
    stays = at == kind
    near = cell[:, None] + step[1:]
    came = (after.objects[moment[:, None], near] == kind[:, None]) & (
        before.objects[moment[:, None], near] != kind[:, None]
    )
    moves = came & ~(stays | spends)[:, None] & (came.sum(1) == 1)[:, None]
    classes = np.column_stack([stays, moves, spends]).astype(np.float32)
    stops = (next_code == Object.DISABLED_ROBOT) & (code != Object.DISABLED_ROBOT)
    bits = np.column_stack([powers[moment], stops[moment], np.zeros(len(moment))]) * np.column_stack(
        [spends, spends, spends]
    )
    mask = np.column_stack([np.ones((len(moment), 6)), spends, spends, np.ones(len(moment))])
    mover_inputs = look(mid.take(moment), cell)
    mover_rows = _keep(
        classes.sum(1) > 0, *mover_inputs, np.column_stack([classes, bits]).astype(np.float32), mask, start + moment
    )
    return {"crate": crate_rows, "robot": robot_rows, "mover": mover_rows}


def _robot_cells(grids: Grids) -> np.ndarray:
    return ((grids.objects >= Object.ROBOT) & (grids.objects <= Object.DISABLED_ROBOT)).argmax(1)


def _class_of(change: np.ndarray, step: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the move class of each change of cell, relative to the action's direction; −1 where it is none."""
    hit = change[:, None] == step
    relative = to_relative(hit.argmax(1), np.maximum(action - 1, 0))
    return np.where(hit.any(1), relative.astype(np.int16), -1)


def _one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    return (classes[:, None] == np.arange(count)).astype(np.float32)


def _keep(kept: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(column[kept] for column in columns)
