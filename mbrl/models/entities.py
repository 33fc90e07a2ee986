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
from mbrl.configs import CellsConfig, LocalConfig
from mbrl.models.cells import CellModel
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
        "the observation's variables, that what happens to a thing depends, in all places alike, on the cells within "
        "reach of its convolutions, seen by robot and crates in the direction of the action, and on which cells "
        f"there are anywhere on the floor, {_STAGES}"
    ),
    "grid-cells": (
        "the observation's variables, that what happens in a cell depends on the cells within its convolutions' reach "
        "and on what is anywhere on the floor, the same in all places, and that circuits, power and reward are one "
        "thing for the whole floor"
    ),
    "advised": (
        "that all directions are alike, and, in training, somebody to ask who plans exactly with the true rules; empty "
        "feeders look to it like others, unless it sees jams"
    ),
    "clone": "that all directions are alike, and what protagonists did who plan exactly with the true rules",
    "dreamer": "the observation's variables",
    "latent": "the observation's variables",
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

    def loss(self, head: str, inputs: Array, targets: Array, mask: Array) -> Float[Array, "n"]:
        """Return the loss of each input (see `head_loss`)."""
        return head_loss(head, self.logits(head, inputs), targets, mask)


class Ensemble(nnx.Module):
    """Models of the same settings that begin differently and learn from different shares of the same experience.

    Together they say what they say on average.

    References: Osband, Blundell, Pritzel and Van Roy, 2016, Deep Exploration via Bootstrapped DQN (shares of the data);
    Yu, Thomas, Yu et al., 2020, MOPO: Model-based Offline Policy Optimization (what disagreement costs).
    """

    def __init__(self, config: LocalConfig, *, key: jax.Array):
        self.view = view_of(config)
        self.members = jax.vmap(lambda key: EntityModel(config, key=key))(jax.random.split(key, config.num_members))

    def probabilities(self, head: str, inputs: Array) -> tuple[Array, Array]:
        """Return what each member says of `n` inputs: of classes `[members, n, classes]`, and of bits."""
        outputs = jax.vmap(lambda member: member.logits(head, inputs))(self.members)
        classes = NUM_CLASSES[head]
        return jax.nn.softmax(outputs[..., :classes]), jax.nn.sigmoid(outputs[..., classes:])

    def logits(self, head: str, inputs: Array) -> Float[Array, "n outputs"]:
        """Return the outputs of a head whose probabilities are the means of the members'."""
        classes, bits = (jnp.clip(part.mean(0), 1e-7, 1 - 1e-7) for part in self.probabilities(head, inputs))
        return jnp.concatenate([jnp.log(classes), jnp.log(bits) - jnp.log1p(-bits)], axis=1)

    def disagreement(self, head: str, inputs: Array) -> Float[Array, "n"]:
        """Return the largest standard deviation, over members, of any probability; at most 0.5."""
        return jnp.concatenate([part.std(0) for part in self.probabilities(head, inputs)], axis=1).max(1)


def make_model(config: LocalConfig, key: jax.Array) -> EntityModel | Ensemble | CellModel:
    """Make an untrained model, or an ensemble if there is more than one member."""
    if isinstance(config, CellsConfig):
        return CellModel(config, key=key)
    return EntityModel(config, key=key) if config.num_members == 1 else Ensemble(config, key=key)


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
        return FitState(TrainState.create(make_model(config, init_key), optimizer(rates)), batch_key, rates)

    def update_chunk(state: FitState, data: Any, num_updates: int):
        steps = state.train.step + jnp.arange(num_updates)
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(state.key, steps)
        shares_key = jax.random.fold_in(state.key, config.num_steps)
        step = partial(update, data, shares_key, optimizer(state.rates))
        train, losses = jax.lax.scan(step, state.train, keys)
        return state._replace(train=train), losses, ()

    def update(data, shares_key: jax.Array, optimise, train: TrainState, key: jax.Array):
        if config.num_members == 1:
            gradients, losses = jax.grad(loss, has_aux=True)(train.model, draw(data, key))
        else:
            owners, keys = (jax.random.split(each, config.num_members) for each in (shares_key, key))
            batches = jax.vmap(draw, (None, 0, 0))(data, keys, owners)
            gradients, losses = jax.grad(members_loss, has_aux=True)(train.model, batches)
        return train.apply_gradients(gradients, optimise), losses

    def draw(data, key: jax.Array, owner: jax.Array | None = None):
        """Draw a batch for every head; whose `owner` is given, half of the inputs, the same at every step, count."""
        batch = {}
        head_keys = jax.random.split(key, len(config.heads))
        owners = [None] * len(config.heads) if owner is None else jax.random.split(owner, len(config.heads))
        for head, head_key, of_head, size in zip(config.heads, head_keys, owners, config.batch_sizes, strict=True):
            inputs, targets, mask, cumulative = data[head]
            below = jnp.nextafter(cumulative[-1], 0.0)
            drawn = jnp.minimum(jax.random.uniform(head_key, (size,)) * cumulative[-1], below)
            index = jnp.searchsorted(cumulative, drawn, side="right").clip(0, len(inputs) - 1)
            known = cumulative[-1] > 0  # a regime may hold nothing of this kind
            if of_head is not None:
                share = jax.vmap(lambda i, key=of_head: jax.random.bernoulli(jax.random.fold_in(key, i)))(index)
                known = known * 2 * share
            batch[head] = inputs[index], targets[index], mask[index], known
        return batch

    def loss(model: EntityModel | CellModel, batch: Any):
        losses = {head: jnp.mean(known * model.loss(head, *given)) for head, (*given, known) in batch.items()}
        return sum(losses.values()), losses

    def members_loss(model: Ensemble, batches: Any):
        totals, losses = jax.vmap(loss)(model.members, batches)
        return jnp.sum(totals), jax.tree.map(jnp.mean, losses)

    def rows(losses: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        means = {f"{head}_loss": losses[head].mean(1) for head in config.heads}
        return {"loss": np.sum(list(means.values()), axis=0), **means}

    stack = partial(stack_digests, exponent=config.weight_exponent)
    return Learner(init, update_chunk, lambda state: state.train.model, rows, stack)


def stack_digests(digests: Sequence[dict[str, HeadData]], exponent: float) -> dict[str, tuple[np.ndarray, ...]]:
    """Pad the digests of several lanes to one length and stack them: inputs, targets, mask, cumulative weights.

    All inputs of which `Near` sees the same, and that were met N times together, share a weight of Nᵉ, each by how
    often it was met; of a model that sees no more, an input that was met n times has nᵉ. Weights depend
    on inputs alone, never on what followed, so that probabilities are learnt as they are. They are added up here, one
    lane by itself: on a device the order of the sum, and so its last bits, would depend on the length of other lanes.
    """
    stacked = {}
    for head in digests[0]:
        parts = [digest[head] for digest in digests]
        size = bucket(max(len(part.count) for part in parts), 2**16)  # one shape for all regimes, one compilation
        inputs = np.stack([pad_rows(part.inputs, size) for part in parts])
        targets, mask = (
            np.stack([pad_rows(getattr(part, name), size) for part in parts]) for name in ("targets", "mask")
        )
        sums = [np.cumsum(part.count / part.alike * part.alike.astype(np.float64) ** exponent) for part in parts]
        cumulative = [np.pad(total, (0, size - len(total)), constant_values=total[-1:].sum()) for total in sums]
        stacked[head] = inputs, targets, mask, np.stack(cumulative).astype(np.float32)
    return stacked
