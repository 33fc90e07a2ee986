"""The default world model: entity-wise heads on 3 × 3 neighbourhoods, staged like a tick.

    crates ──► robot and fixtures ──► movers, given the result ──► power          reward = Σ over entities

    head          sees (see neighbourhoods.py)              says
    crate         its cells, the action                     stays or moves, 5 classes
    robot         its cells, the action, circuits, power    move (5), carries wire, toggles A, B, power; reward
    mover         its cells after the robot's part, power   stays, moves or is spent (6); if spent: toggles power,
                                                            disables the robot; reward

Given: the variables of the observation, circuits as global bits, 3 × 3 locality, that robot and crates look in the
direction of the action, the stages, additive reward (each entity moves the counter by at most 1 a tick). Learned: who
may go where, what stops whom, what every fixture does, what pays. The kind of a mover is an input like any other, so
whether what was learnt of carts holds for people is for the model to generalise. No absolute position. An untrained
model says that everything stays as it is.

Distinct inputs are few, so each is trained on once, with a weight, and evaluated once.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from envs.types import Object
from mbrl.models.neighbourhoods import (
    CELL_FEATURES,
    GLOBAL_FEATURES,
    Grids,
    features,
    grids_of_obs,
    input_keys,
    make_inputs,
    move_object,
    to_relative,
)
from mbrl.networks import MLP, Linear, TrainState
from mbrl.types import Transition

GIVEN = (
    "the observation's variables, circuits as global bits (present, closed, occupants), 3×3 locality, seen by robot "
    "and crates in the direction of the action, the stages crate → robot and fixtures → movers → power, additive "
    "reward (each entity moves the counter by at most 1 a tick), and that what is unknown stays as it is"
)
"""What the model does not have to learn; every report prints it."""

HEADS = ("crate", "robot", "mover")
NUM_OUTPUTS = {"crate": 5, "robot": 10, "mover": 9}
NUM_CLASSES = {"crate": 5, "robot": 5, "mover": 6}
USE = 5  # the class of a mover that becomes spent
_INERTIA = 6.0  # in nats


@dataclass(frozen=True)
class LocalConfig:
    """Sizes and training of the model; a head with few distinct inputs makes do with small batches."""

    hidden_size: int = 128
    embedding_size: int = 16
    num_steps: int = 1000
    batch_sizes: tuple[int, int, int] = (64, 256, 256)  # in the order of HEADS
    learning_rate: float = 2e-3
    weight_exponent: float = 0.5
    weight_decay: float = 0.01


class Head(nnx.Module):
    """An MLP on the nine cells, each embedded by the same linear map, and the global features."""

    def __init__(self, num_outputs: int, config: LocalConfig, *, key: jax.Array):
        cell_key, body_key = jax.random.split(key)
        self.embed = Linear(CELL_FEATURES, config.embedding_size, key=cell_key)
        num_in = 9 * config.embedding_size + GLOBAL_FEATURES
        self.body = MLP((num_in, config.hidden_size, config.hidden_size, num_outputs), final_scale=0.1, key=body_key)
        # Until it has learnt otherwise, a head says that nothing happens: class 0, no bit set, no reward.
        self.body.layers[-1].bias = nnx.Param(jnp.full(num_outputs, -_INERTIA / 2).at[0].set(_INERTIA / 2))

    def __call__(self, inputs: Array) -> Float[Array, "n outputs"]:
        """Return the outputs for inputs `[n, 13]`."""
        cells, rest = features(inputs)
        embedded = self.embed(cells).reshape(*inputs.shape[:-1], -1)
        return self.body(jnp.concatenate([embedded, rest], axis=-1))


class LocalModel(nnx.Module):
    """Three heads."""

    def __init__(self, config: LocalConfig, *, key: jax.Array):
        keys = jax.random.split(key, len(HEADS))
        self.crate, self.robot, self.mover = (
            Head(NUM_OUTPUTS[head], config, key=head_key) for head, head_key in zip(HEADS, keys, strict=True)
        )

    def logits(self, head: str, inputs: Array) -> Float[Array, "n outputs"]:
        """Return the raw outputs of a head for inputs `[n, 13]`: class logits, then bit logits, the reward's last."""
        return {"crate": self.crate, "robot": self.robot, "mover": self.mover}[head](inputs)


@dataclass(frozen=True)
class HeadData:
    """Distinct inputs of one head with what followed them.

    `targets` are relative frequencies (classes, then bits) and the mean reward; `mask` says which of the bits were
    observable; `count` is the number of times the input was met.
    """

    inputs: np.ndarray  # uint16[d, 13]
    targets: np.ndarray  # float32[d, outputs]
    mask: np.ndarray  # float32[d, outputs]
    count: np.ndarray  # float32[d]


def digest(data: Transition, chunk: int = 32_768) -> dict[str, HeadData]:
    """Reduce transitions (NumPy, `[n, ...]`) to the distinct inputs of every head and what followed them."""
    parts = [_label(Transition(*(part[i : i + chunk] for part in data))) for i in range(0, len(data.action), chunk)]
    offset, robot_of = 0, []
    rows: dict[str, list] = {head: [] for head in HEADS}
    for part, reward in parts:
        for head in HEADS:
            rows[head].append(part[head])
        robot_of.append((offset, reward))
        offset += len(reward)
    reward = np.concatenate([reward for _, reward in robot_of])
    merged = {}
    for head in HEADS:
        inputs, targets, mask = (np.concatenate([row[i] for row in rows[head]]) for i in range(3))
        moment = np.concatenate([row[3] + start for row, (start, _) in zip(rows[head], robot_of, strict=True)])
        _, first, inverse = np.unique(input_keys(inputs), return_index=True, return_inverse=True)
        merged[head] = inputs[first], targets, mask, inverse, moment
    shares = _attribute_reward(reward, merged)
    return {head: _average(head, *merged[head][:4], shares.get(head)) for head in HEADS}


def _attribute_reward(reward: np.ndarray, merged: dict, rounds: int = 5) -> dict[str, np.ndarray]:
    """Split the reward of each moment into a mean for each distinct input of the robot and of movers.

    Backfitting of an additive model (Hastie and Tibshirani 1990, §4.3): each part in turn is fitted to what the others
    leave, the robot's first.
    """
    robot, mover = merged["robot"][3], merged["mover"][3]
    robot_moment, mover_moment = merged["robot"][4], merged["mover"][4]
    share = np.zeros(len(merged["robot"][0])), np.zeros(len(merged["mover"][0]))
    for _ in range(rounds):
        rest = reward.copy()
        np.subtract.at(rest, mover_moment, share[1][mover])
        share = _mean_by(robot, rest[robot_moment], len(share[0])), share[1]
        rest = reward.copy()
        np.subtract.at(rest, robot_moment, share[0][robot])
        share = share[0], _mean_by(mover, rest[mover_moment], len(share[1]))
    return {"robot": share[0], "mover": share[1]}


def _mean_by(group: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(group, values, count) / np.maximum(np.bincount(group, minlength=count), 1)


def _average(head, inputs, targets, mask, inverse, share) -> HeadData:
    """Average the targets of equal inputs."""
    count = np.bincount(inverse, minlength=len(inputs)).astype(np.float32)
    mean, seen = (
        np.zeros((len(inputs), targets.shape[1]), np.float32),
        np.zeros((len(inputs), mask.shape[1]), np.float32),
    )
    for column in range(targets.shape[1]):
        seen[:, column] = np.bincount(inverse, mask[:, column], len(inputs))
        mean[:, column] = np.bincount(inverse, targets[:, column] * mask[:, column], len(inputs))
    mean /= np.maximum(seen, 1)
    if share is not None:
        mean[:, -1] = np.clip(share, 0, 1)
    return HeadData(inputs, mean, seen / count[:, None], count)


def _label(data: Transition) -> tuple[dict[str, tuple[np.ndarray, ...]], np.ndarray]:
    """Turn transitions into rows `(inputs, targets, mask, moment)` for each head, and the rewards."""
    before, after = grids_of_obs(data.obs), grids_of_obs(data.next_obs)
    action, width = data.action, before.width
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
    crate_inputs = make_inputs(before.take(moment).around(cell, action[moment]), before.power[moment], action[moment])
    crate_targets = _one_hot(_class_of(new_cell - cell, step, action[moment]), 5)
    crate_rows = _keep(crate_targets.sum(1) > 0, crate_inputs, crate_targets, np.ones_like(crate_targets), moment)

    # Robot: it sees the crates where they are now, itself where it was.
    objects = np.where(before.objects == Object.CRATE, Object.NONE, before.objects)
    pushed = Grids(
        before.terrain, before.marking, np.where(after.objects == Object.CRATE, Object.CRATE, objects),
        before.power, width,
    )  # fmt: skip
    pushed.objects[moments, robot] = code
    robot_inputs = make_inputs(pushed.around(robot, action), before.power, action, circuits)
    toggles = ((circuits ^ after.circuits()) >> 1) & 1
    someone = ((before.objects == Object.OPERATOR) & (after.objects == Object.SPENT_OPERATOR)).any(1)
    carries = np.where(next_code == Object.DISABLED_ROBOT, code, next_code) == Object.ROBOT_WITH_WIRE
    bits = np.column_stack([carries, toggles, powers & ~someone, np.zeros(len(action))])
    robot_targets = np.column_stack([_one_hot(_class_of(next_robot - robot, step, action), 5), bits])
    robot_rows = _keep(
        robot_targets[:, :5].sum(1) > 0, robot_inputs, robot_targets, np.ones_like(robot_targets), moments
    )

    # Movers: they see the floor as the robot's part left it, themselves where they were.
    mid_code = np.where(code == Object.DISABLED_ROBOT, code, Object.ROBOT + carries)
    mid = move_object(pushed, robot, next_robot, mid_code)
    mid = Grids(after.terrain, mid.marking, mid.objects, before.power, width)
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
    mover_inputs = make_inputs(mid.take(moment).around(cell), before.power[moment])
    mover_rows = _keep(
        classes.sum(1) > 0, mover_inputs, np.column_stack([classes, bits]).astype(np.float32), mask, moment
    )
    return {"crate": crate_rows, "robot": robot_rows, "mover": mover_rows}, data.reward.astype(np.float64)


def _robot_cells(grids: Grids) -> np.ndarray:
    return ((grids.objects >= Object.ROBOT) & (grids.objects <= Object.DISABLED_ROBOT)).argmax(1)


def _class_of(change: np.ndarray, step: np.ndarray, action: np.ndarray) -> np.ndarray:
    """Return the move class of each change of cell, relative to the action's direction; −1 where it is none."""
    hit = change[:, None] == step
    return np.where(hit.any(1), to_relative(hit.argmax(1), np.maximum(action - 1, 0)), -1)


def _one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    return (classes[:, None] == np.arange(count)).astype(np.float32)


def _keep(kept: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    return tuple(column[kept] for column in columns)


def head_loss(head: str, outputs: Array, targets: Array, mask: Array) -> Float[Array, "n"]:
    """Return the loss of each input: the cross-entropies, in nats, of class, bits and reward (which counts 0 or 1).

    ℓ = −Σ_c p_c log q_c − Σ_b m_b [p_b log q_b + (1 − p_b) log(1 − q_b)]
    """
    classes = NUM_CLASSES[head]
    loss = optax.softmax_cross_entropy(outputs[:, :classes], targets[:, :classes])
    if head == "crate":
        return loss
    bits = optax.sigmoid_binary_cross_entropy(outputs[:, classes:], targets[:, classes:])
    return loss + jnp.sum(bits * mask[:, classes:], axis=1)


@partial(jax.jit, static_argnames="config")
def fit(key: jax.Array, data: dict[str, tuple[Array, ...]], config: LocalConfig) -> tuple[LocalModel, dict[str, Array]]:
    """Train one model (the caller vmaps over seeds); return it and the losses `[steps]` of every head.

    Args:
        key: initialisation and batches.
        data: for each head inputs, targets, mask and counts; a count of 0 marks padding.
        config: see `LocalConfig`.
    """
    init_key, batch_key = jax.random.split(key)
    optimizer = optax.adamw(
        optax.cosine_decay_schedule(config.learning_rate, config.num_steps, 0.02), weight_decay=config.weight_decay
    )
    state = TrainState.create(LocalModel(config, key=init_key), optimizer)
    cumulative = {
        head: jnp.cumsum(jnp.where(part[3] > 0, part[3], 0.0) ** config.weight_exponent * (part[3] > 0))
        for head, part in data.items()
    }

    def loss_fn(model, batch):
        losses = {}
        for head, (inputs, targets, mask) in batch.items():
            known = cumulative[head][-1] > 0  # a regime may hold nothing of this kind
            losses[head] = known * jnp.mean(head_loss(head, model.logits(head, inputs), targets, mask))
        return sum(losses.values()), losses

    def update(state, step_key):
        batch = {}
        head_keys = jax.random.split(step_key, len(HEADS))
        for head, head_key, size in zip(HEADS, head_keys, config.batch_sizes, strict=True):
            inputs, targets, mask, _ = data[head]
            drawn = jax.random.uniform(head_key, (size,)) * cumulative[head][-1]
            index = jnp.searchsorted(cumulative[head], drawn, side="right").clip(0, len(inputs) - 1)
            batch[head] = inputs[index], targets[index], mask[index]
        gradients, losses = jax.grad(loss_fn, has_aux=True)(state.model, batch)
        return state.apply_gradients(gradients, optimizer), losses

    state, losses = jax.lax.scan(update, state, jax.random.split(batch_key, config.num_steps))
    return state.model, losses


def stack_digests(digests: list[dict[str, HeadData]]) -> dict[str, tuple[np.ndarray, ...]]:
    """Pad the digests of several seeds to one length and stack them."""
    stacked = {}
    for head in HEADS:
        parts = [digest[head] for digest in digests]
        size = 1 << max(max(len(part.count) for part in parts) - 1, 2**15).bit_length()  # few shapes, few compilations
        columns = []
        for name in ("inputs", "targets", "mask", "count"):
            arrays = [getattr(part, name) for part in parts]
            pads = [[(0, size - len(array))] + [(0, 0)] * (array.ndim - 1) for array in arrays]
            columns.append(np.stack([np.pad(array, pad) for array, pad in zip(arrays, pads, strict=True)]))
        stacked[head] = tuple(column.astype(np.float32) if i else column for i, column in enumerate(columns))
    return stacked


def fit_seeds(
    seeds: list[int], digests: list[dict[str, HeadData]], config: LocalConfig
) -> tuple[LocalModel, dict[str, Array]]:
    """Train one model for each seed in one vmapped program; return them stacked along a first axis, and the losses."""
    keys = jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32))
    return _fit_all(keys, stack_digests(digests), config)


@partial(jax.jit, static_argnames="config")
def _fit_all(keys, data, config):
    return jax.vmap(partial(fit, config=config))(keys, data)
