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

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from envs.packing import bucket, pad_rows
from mbrl.keys import purpose_key
from mbrl.models.labels import HEADS, HeadData
from mbrl.models.neighbourhoods import CELL_FEATURES, GLOBAL_FEATURES, features
from mbrl.networks import MLP, Linear, TrainState

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
        size = bucket(max(len(part.count) for part in parts), 2**16)  # one shape for all regimes, one compilation
        columns = [
            np.stack([pad_rows(getattr(part, name), size) for part in parts])
            for name in ("inputs", "targets", "mask", "count")
        ]
        stacked[head] = tuple(column.astype(np.float32) if i else column for i, column in enumerate(columns))
    return stacked


def fit_seeds(
    seeds: list[int], digests: list[dict[str, HeadData]], config: LocalConfig
) -> tuple[LocalModel, dict[str, Array]]:
    """Train one model for each seed in one vmapped program; return them stacked along a first axis, and the losses."""
    keys = jax.vmap(partial(purpose_key, purpose="world model"))(jnp.array(seeds, jnp.uint32))
    return _fit_all(keys, stack_digests(digests), config)


@partial(jax.jit, static_argnames="config")
def _fit_all(keys, data, config):
    return jax.vmap(partial(fit, config=config))(keys, data)
