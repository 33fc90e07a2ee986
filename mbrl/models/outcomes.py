"""The local model as a distribution over next states, for exact planning.

Branches grow stage by stage, `(state, action) → crates → robot and fixtures → movers → power`: every stage splits a
branch into the outcomes that its head finds probable. Distinct inputs are evaluated once and remembered.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.keys import KeyIndex
from envs.packing import call_padded
from envs.solver import Edges
from envs.types import NUM_ACTIONS, Level, Object
from mbrl.models.entities import NUM_CLASSES, USE, Ensemble, EntityModel
from mbrl.models.neighbourhoods import Grids, grids_of_rows, input_keys, to_absolute

_TOP = 6
"""Most outcomes of one entity that are kept; all beyond have less than 1/7 of the probability."""
_NEGLIGIBLE = 1e-4


class Memory:
    """The likeliest outcomes of one head for every distinct input met so far.

    An outcome is an index into the product of the head's class and bits, `class · 2ᵇ + bits`.
    """

    def __init__(self, model: EntityModel | Ensemble, head: str, pessimism: float):
        self._model, self._head, self._pessimism = model, head, pessimism
        self._index = KeyIndex()
        self.outcome = np.zeros((0, _TOP), np.int16)
        self.probability = np.zeros((0, _TOP))
        self.reward = np.zeros(0)

    def look_up(self, inputs: np.ndarray) -> np.ndarray:
        """Return the row of each input in the arrays of this memory, evaluating the model where it is new."""
        rows, fresh = self._index.find_or_add(input_keys(inputs))
        if len(fresh):
            joint, reward = call_padded(partial(_evaluate, self._model, self._head, self._pessimism), inputs[fresh])
            likeliest = np.argpartition(joint, -_TOP, axis=1)[:, -_TOP:].astype(np.int16)
            self.outcome = np.concatenate([self.outcome, likeliest])
            self.probability = np.concatenate([self.probability, np.take_along_axis(joint, likeliest, axis=1)])
            self.reward = np.concatenate([self.reward, reward])
        return rows


def _joint(model: EntityModel | Ensemble, head: str, inputs):
    """Return the joint probabilities `[n, classes · 2ᵇ]` of class and bits, and the reward `[n]`."""
    outputs, classes = model.logits(head, inputs), NUM_CLASSES[head]
    joint = jax.nn.softmax(outputs[:, :classes])
    if head == "crate":
        return joint, jnp.zeros(len(inputs))
    bits = jax.nn.sigmoid(outputs[:, classes:-1])
    if head == "mover":  # only one that becomes spent toggles power or disables the robot
        bits = bits[:, None, :] * (jnp.arange(classes) == USE)[None, :, None]
    else:
        bits = jnp.broadcast_to(bits[:, None, :], (len(inputs), classes, bits.shape[-1]))
    joint = joint[:, :, None]
    for i in range(bits.shape[-1]):
        bit = bits[:, :, i, None, None]
        joint = (joint[..., None] * jnp.concatenate([1 - bit, bit], axis=-1)).reshape(*joint.shape[:2], -1)
    return joint.reshape(len(inputs), -1), jax.nn.sigmoid(outputs[:, -1])


@partial(jax.jit, static_argnums=(1, 2))
def _evaluate(model: EntityModel | Ensemble, head: str, pessimism: float, inputs):
    """Return the probability of every outcome `[n, outcomes]`, at least `_TOP` of them, and the reward `[n]`."""
    joint, reward = _joint(model, head, inputs)
    if pessimism:
        assert isinstance(model, Ensemble), "nobody disagrees in a single model"
        reward = reward - pessimism * model.disagreement(head, inputs)
    return jnp.pad(joint, ((0, 0), (0, max(0, _TOP - joint.shape[-1])))), reward


class EntityOutcomes:
    """`Outcomes` of a local model (see `envs.solver`); keeps what it evaluated from one call to the next.

    Of an ensemble, what its members disagree on costs `pessimism` times their disagreement.
    """

    def __init__(self, model: EntityModel | Ensemble, floor: float = 0.0, pessimism: float = 0.0):
        self._threshold = max(floor / 4, _NEGLIGIBLE)
        self._memory = {head: Memory(model, head, pessimism) for head in NUM_CLASSES}
        self._view = model.view

    def __call__(self, bank: Level, rows: np.ndarray, index: np.ndarray) -> Edges:
        """Return the outcomes of packed states under every action."""
        count, num_crates = len(rows), bank.crates.shape[-1]
        self._move_by = _mover_of_cells(bank)
        grids = grids_of_rows(bank, rows, index)
        circuits = grids.circuits()
        reward = np.zeros(count * NUM_ACTIONS)
        branch = _Branches(
            np.arange(len(reward)), np.repeat(rows, NUM_ACTIONS, axis=0), np.ones(len(reward)),
            np.zeros(len(reward), np.int16), np.full(len(reward), np.inf),
        )  # fmt: skip

        for crate in range(num_crates):
            column = 6 + crate
            if not rows[:, column].any():
                continue
            state, action = np.divmod(branch.parent, NUM_ACTIONS)
            cell = branch.rows[:, column].astype(int)
            inputs = self._view.inputs(grids.take(state), cell, action)
            inputs[cell == 0] = 0
            where = self._memory["crate"].look_up(inputs)
            share = np.where(cell == 0, 0.0, branch.probability * self._memory["crate"].reward[where])
            reward += np.bincount(branch.parent, share, len(reward))
            branch, outcome, source = self._split(branch, "crate", where, certain=cell == 0)
            branch.rows[:, column] = self._move_by(cell[source], to_absolute(outcome, self._ahead(action[source])))

        state, action = np.divmod(branch.parent, NUM_ACTIONS)
        pushed = grids_of_rows(bank, branch.rows, index[state]) if num_crates else grids.take(state)
        robot = branch.rows[:, 0].astype(int)
        where = self._memory["robot"].look_up(self._view.inputs(pushed, robot, action, circuits[state]))
        reward += np.bincount(branch.parent, branch.probability * self._memory["robot"].reward[where], len(reward))
        branch, outcome, source = self._split(branch, "robot", where)
        move, bits = np.divmod(outcome, 16)
        branch.rows[:, 0] = self._move_by(robot[source], to_absolute(move, self._ahead(action[source])))
        branch.rows[:, 1] = np.where(branch.rows[:, 2] == 1, branch.rows[:, 1], bits >> 3)
        branch.rows[:, 3] ^= (bits >> 2 & 1).astype(np.int16)
        branch.rows[:, 4] ^= (bits >> 1 & 1).astype(np.int16)
        branch.toggles = (bits & 1).astype(np.int16)

        order = np.argsort(branch.parent, kind="stable")
        branch = branch.take(order, branch.probability[order])
        level = index[branch.parent // NUM_ACTIONS]
        moment = np.column_stack([branch.rows, branch.toggles, level]).astype(np.uint32)
        met, first = KeyIndex().find_or_add(input_keys(moment))
        after, gain = self._movers(bank, branch.take(first, np.ones(len(first))), level[first])
        reward += np.bincount(branch.parent, branch.probability * gain[met], len(reward))
        source, place = _spread(met, after.parent)
        kept = branch.probability[source] * after.least[place] >= self._threshold
        source, place = source[kept], place[kept]
        probability = branch.probability[source] * after.probability[place]
        return Edges(branch.parent[source], place, after.rows, probability, reward.reshape(count, NUM_ACTIONS))

    def _movers(self, bank: Level, before: "_Branches", level: np.ndarray) -> tuple["_Branches", np.ndarray]:
        """Return what movers make of moments after the robot's part, in the order of these, and the expected reward.

        Many actions in many states come to the same moment: it is looked at once.
        """
        num_crates, num_movers = bank.crates.shape[-1], bank.movers.shape[-1]
        nothing = np.full(len(level), np.inf)
        branch, reward = replace(before, parent=np.arange(len(level)), least=nothing), np.zeros(len(level))
        floor = grids_of_rows(bank, branch.rows, level)
        for mover in range(num_movers):
            column = 6 + num_crates + mover
            if branch.rows[:, column].any():
                branch = self._move(branch, floor, column, num_movers, bank.kinds[level, mover], reward)
        branch.rows[:, 5] ^= branch.toggles & 1
        order = np.argsort(branch.parent, kind="stable")
        return branch.take(order, branch.probability[order]), reward

    def _ahead(self, action: np.ndarray) -> np.ndarray:
        """Return the action in whose direction moves are told; NOOP for none."""
        return action if self._view.turns else np.zeros_like(action)

    def _move(self, branch, floor: Grids, column: int, num_movers: int, kinds, reward) -> "_Branches":
        """Split branches by what one mover does; it sees `floor`, the moment after the robot's part."""
        cell = branch.rows[:, column].astype(int)
        inputs = self._view.inputs(floor.take(branch.parent), cell)
        inputs[cell == 0] = 0
        where = self._memory["mover"].look_up(inputs)
        share = np.where(cell == 0, 0.0, branch.probability * self._memory["mover"].reward[where])
        reward += np.bincount(branch.parent, share, len(reward))
        branch, outcome, source = self._split(branch, "mover", where, certain=cell == 0)
        kind, bits = np.divmod(outcome, 4)
        present, uses = cell[source] > 0, kind == USE
        branch.rows[:, column] = self._move_by(cell[source], np.where(uses, 0, kind))
        uses &= present
        operator = kinds[branch.parent] == Object.OPERATOR  # no other kind has a spent form
        branch.rows[:, column + num_movers] |= (uses & operator).astype(np.int16)
        branch.toggles = branch.toggles ^ (uses & (bits >> 1 == 1)).astype(np.int16)
        branch.rows[:, 2] |= (uses & (bits & 1 == 1)).astype(np.int16)
        return branch

    def _split(self, branch: "_Branches", head: str, where: np.ndarray, certain: np.ndarray | None = None):
        """Split every branch into the probable outcomes of its row in a head's memory; `certain` ones stay whole."""
        probability = self._memory[head].probability[where]
        if certain is not None:
            probability = np.where(certain[:, None], np.eye(1, _TOP), probability)
        joint = branch.probability[:, None] * probability
        kept, likeliest = joint >= self._threshold, joint.argmax(1)
        kept[np.arange(len(joint)), likeliest] = True  # However improbable a branch, it leads somewhere.
        source, slot = np.nonzero(kept)
        outcome = self._memory[head].outcome[where[source], slot].astype(int)
        if certain is not None:
            outcome[certain[source]] = 0
        found = branch.take(source, joint[source, slot])
        found.least = np.where(slot == likeliest[source], found.least, found.probability)
        return found, outcome, source


def _mover_of_cells(bank: Level):
    """Return a function that moves cells by a class 0..4; whatever is absent, or would leave the grid, stays."""
    height, width = bank.terrain.shape[-2:]
    inside = np.zeros((height, width), bool)
    inside[1:-1, 1:-1] = True
    inside = inside.reshape(-1)
    step = np.array([0, -width, 1, width, -1])

    def move(cell: np.ndarray, kind: np.ndarray) -> np.ndarray:
        target = np.where(cell == 0, 0, cell + step[kind])
        return np.where(inside[target], target, cell)

    return move


def _spread(met: np.ndarray, parent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of every pair of an element of `met` and a place in the sorted `parent` with that number: both places."""
    count = np.bincount(parent)
    source = np.repeat(np.arange(len(met)), count[met])
    nth = np.arange(len(source)) - np.repeat(np.cumsum(count[met]) - count[met], count[met])
    return source, (np.cumsum(count) - count)[met[source]] + nth


@dataclass
class _Branches:
    """Growing branches: what they come from (state and action, or a moment), the state so far, its probability, how
    often power was toggled on the way, and the probability when something but the likeliest happened last."""

    parent: np.ndarray
    rows: np.ndarray
    probability: np.ndarray
    toggles: np.ndarray
    least: np.ndarray

    def take(self, source: np.ndarray, probability: np.ndarray) -> "_Branches":
        """Return copies of the given branches with new probabilities."""
        return _Branches(self.parent[source], self.rows[source], probability, self.toggles[source], self.least[source])
