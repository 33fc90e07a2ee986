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

Distinct inputs are few, so each is trained on once, with a weight (labels.py), and evaluated once (outcomes.py).
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from envs.packing import bucket, pad_rows
from mbrl.configs import LocalConfig
from mbrl.models.labels import HEADS, HeadData
from mbrl.models.neighbourhoods import CELL_FEATURES, GLOBAL_FEATURES, features
from mbrl.networks import MLP, Linear, TrainState
from mbrl.types import Learner, Rates

GIVEN = (
    "the observation's variables, circuits as global bits (present, closed, occupants), 3×3 locality, seen by robot "
    "and crates in the direction of the action, the stages crate → robot and fixtures → movers → power, additive "
    "reward (each entity moves the counter by at most 1 a tick), and that what is unknown stays as it is"
)
"""What the model does not have to learn; every report prints it."""

NUM_OUTPUTS = {"crate": 5, "robot": 10, "mover": 9}
NUM_CLASSES = {"crate": 5, "robot": 5, "mover": 6}
USE = 5  # the class of a mover that becomes spent
_INERTIA = 6.0  # in nats


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


class FitState(NamedTuple):
    """A model in training; `key` and `rates` are constant, step i draws its batch by `fold_in(key, i)`."""

    train: TrainState
    key: jax.Array
    rates: Rates


@cache
def make_learner(config: LocalConfig) -> Learner:
    """Make the verbs of training on stacked digests (see `stack_digests`); a step draws a batch for every head."""

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(1.0, config.num_steps, 0.02)
        decay = lambda step: rates.learning_rate * schedule(step)  # noqa: E731
        return optax.adamw(decay, weight_decay=config.weight_decay)

    def init(key: jax.Array, data: Any, rates: Rates) -> FitState:
        init_key, batch_key = jax.random.split(key)
        return FitState(TrainState.create(LocalModel(config, key=init_key), optimizer(rates)), batch_key, rates)

    def update_chunk(state: FitState, data: Any, num_updates: int):
        steps = state.train.step + jnp.arange(num_updates)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, steps)
        train, losses = jax.lax.scan(partial(update, data, optimizer(state.rates)), state.train, keys)
        return state._replace(train=train), losses, ()

    def update(data, optimise, train: TrainState, key: jax.Array):
        batch = {}
        head_keys = jax.random.split(key, len(HEADS))
        for head, head_key, size in zip(HEADS, head_keys, config.batch_sizes, strict=True):
            inputs, targets, mask, cumulative = data[head]
            below = jnp.nextafter(cumulative[-1], 0.0)
            drawn = jnp.minimum(jax.random.uniform(head_key, (size,)) * cumulative[-1], below)
            index = jnp.searchsorted(cumulative, drawn, side="right").clip(0, len(inputs) - 1)
            known = cumulative[-1] > 0  # a regime may hold nothing of this kind
            batch[head] = inputs[index], targets[index], mask[index], known
        gradients, losses = jax.grad(loss, has_aux=True)(train.model, batch)
        return train.apply_gradients(gradients, optimise), losses

    def loss(model: LocalModel, batch: Any):
        losses = {
            head: known * jnp.mean(head_loss(head, model.logits(head, inputs), targets, mask))
            for head, (inputs, targets, mask, known) in batch.items()
        }
        return sum(losses.values()), losses

    def rows(losses: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        means = {f"{head}_loss": losses[head].mean(1) for head in HEADS}
        return {"loss": np.sum(list(means.values()), axis=0), **means}

    stack = partial(stack_digests, exponent=config.weight_exponent)
    return Learner(init, update_chunk, lambda state: state.train.model, rows, stack)


def stack_digests(digests: Sequence[dict[str, HeadData]], exponent: float) -> dict[str, tuple[np.ndarray, ...]]:
    """Pad the digests of several lanes to one length and stack them: inputs, targets, mask, cumulative weights.

    An input that was met n times has the weight nᵉ. Weights are added up here, one lane by itself: on a device the
    order of the sum, and so its last bits, would depend on the length of the other lanes.
    """
    stacked = {}
    for head in HEADS:
        parts = [digest[head] for digest in digests]
        size = bucket(max(len(part.count) for part in parts), 2**16)  # one shape for all regimes, one compilation
        inputs = np.stack([pad_rows(part.inputs, size) for part in parts])
        targets, mask = (
            np.stack([pad_rows(getattr(part, name), size) for part in parts]).astype(np.float32)
            for name in ("targets", "mask")
        )
        sums = [np.cumsum(part.count.astype(np.float64) ** exponent) for part in parts]
        cumulative = [np.pad(total, (0, size - len(total)), constant_values=total[-1:].sum()) for total in sums]
        stacked[head] = inputs, targets, mask, np.stack(cumulative).astype(np.float32)
    return stacked
