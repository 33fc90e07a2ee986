"""Entity-wise world models: one head for each kind of thing, staged like a tick. `local` is the default.

    crates ──► robot and fixtures ──► movers, given the result ──► power          reward = Σ over entities

    head          sees (see views.py)                       says
    crate         its surroundings, the action              stays or moves, 5 classes
    robot         likewise, circuits, power                 move (5), carries wire, toggles A, B, power; reward
    mover         its surroundings after the robot's        stays, moves or is spent (6); if spent: toggles power,
                  part, power                               disables the robot; reward

Models differ by what their heads see and how (heads.py), and so by what is given to them (`GIVEN`). Learned is: who may
go where, what stops whom, what every fixture does, what pays. The kind of a mover is an input like any other, so
whether what was learnt of carts holds for people is for the model to generalise. An untrained model says that
everything stays as it is.

Each distinct input is trained on once, with a weight (labels.py), and evaluated once (outcomes.py); `local` has few.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from envs.packing import bucket, pad_rows
from mbrl.configs import LocalConfig
from mbrl.models.heads import make_head, view_of
from mbrl.models.labels import HEADS, HeadData
from mbrl.networks import FitState, TrainState
from mbrl.types import Learner, Rates

_STAGES = (
    "the stages crate → robot and fixtures → movers → power, additive reward (each entity moves the counter by at most "
    "1 a tick), and that what is unknown stays as it is"
)
GIVEN = {
    "local": (
        "the observation's variables, circuits as global bits (present, closed, occupants), 3×3 locality, seen by "
        f"robot and crates in the direction of the action, {_STAGES}"
    ),
    "grid": (
        "the observation's variables, that what happens to a thing depends on the cells within its convolutions' reach "
        f"and on what is anywhere on the floor, the same in all places, {_STAGES}"
    ),
    "dense": f"the observation's variables, {_STAGES}",
}
"""What each model does not have to learn; every report prints it."""

NUM_OUTPUTS = {"crate": 5, "robot": 10, "mover": 9}
NUM_CLASSES = {"crate": 5, "robot": 5, "mover": 6}
USE = 5  # the class of a mover that becomes spent


class EntityModel(nnx.Module):
    """Three heads."""

    def __init__(self, config: LocalConfig, *, key: jax.Array):
        keys = jax.random.split(key, len(HEADS))
        self.view = view_of(config)
        self.crate, self.robot, self.mover = (
            make_head(NUM_OUTPUTS[head], config, head_key) for head, head_key in zip(HEADS, keys, strict=True)
        )

    def logits(self, head: str, inputs: Array) -> Float[Array, "n outputs"]:
        """Return the raw outputs of a head for `n` inputs: class logits, then bit logits, the reward's last."""
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


@cache
def make_learner(config: LocalConfig) -> Learner:
    """Make the verbs of training on stacked digests (see `stack_digests`); a step draws a batch for every head."""

    def optimizer(rates: Rates) -> optax.GradientTransformation:
        schedule = optax.cosine_decay_schedule(1.0, config.num_steps, 0.02)
        decay = lambda step: rates.learning_rate * schedule(step)  # noqa: E731
        return optax.adamw(decay, weight_decay=config.weight_decay)

    def init(key: jax.Array, data: Any, rates: Rates) -> FitState:
        init_key, batch_key = jax.random.split(key)
        return FitState(TrainState.create(EntityModel(config, key=init_key), optimizer(rates)), batch_key, rates)

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

    def loss(model: EntityModel, batch: Any):
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
