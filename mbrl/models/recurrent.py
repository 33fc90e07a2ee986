"""`recurrent`: a world model that remembers, a recurrent state-space model with categorical latents.

    h₀ = 0                                         at the beginning of an episode
    zₜ ~ q(z | hₜ, xₜ)  where x is seen,  p(z | hₜ)  where it is imagined
    hₜ₊₁ = GRU(hₜ, zₜ, aₜ)
    x̂ₜ from (hₜ, zₜ);  reward rₜ and whether it goes on after step t, cₜ, from hₜ₊₁

    L = Σ (x − x̂)² − log p(r) − log p(c) + β_dyn max(1, KL(sg q ‖ p)) + β_rep max(1, KL(q ‖ sg p))

Reference: Hafner, Pasukonis, Ba and Lillicrap, 2023, Mastering Diverse Domains through World Models, eqs. 3-5.
Departures: perceptrons read and draw every observation; what a step brings is read off hₜ₊₁, before it is seen where it
led, so that a transition is one row (x, a, r, c) and final observations need none; a stretch of experience that begins
amid an episode begins with h = 0.

Arrays may have any leading axes; `observe` and `imagine` scan over the first, time.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mbrl.controllers import RecurrentConfig
from mbrl.encoders import as_it_is
from mbrl.gathering import Row
from mbrl.networks import MLP, Linear, normed
from mbrl.scales import NUM_BINS, TwoHot

_UNIMIX = 0.01


def normed_silu(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Activate what is normed."""
    return nnx.silu(normed(x))


def mixed(logits: Float[Array, "*batch choices"]) -> Float[Array, "*batch choices"]:
    """Return logits of the distribution, mixed with one part in a hundred of all choices alike."""
    return jnp.log((1 - _UNIMIX) * jax.nn.softmax(logits) + _UNIMIX / logits.shape[-1])


class Moments(NamedTuple):
    """States, and what they led to: memory, latent, and the memory after acting."""

    memory: Float[Array, "*batch memory"]
    latent: Float[Array, "*batch latent"]
    after: Float[Array, "*batch memory"]

    @property
    def state(self) -> Float[Array, "*batch state"]:
        """What policies and values are functions of."""
        return jnp.concatenate([self.memory, self.latent], -1)


class RecurrentModel(nnx.Module):
    """The parameters, and what can be asked of them; `encode` makes features of observations."""

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        config: RecurrentConfig,
        encode: Callable[[Array], Array] = as_it_is,
        *,
        key: jax.Array,
    ):
        keys = jax.random.split(key, 8)
        self.encode = encode
        n, m, z = config.hidden_size, config.memory_size, config.num_latents * config.num_classes
        body = lambda *sizes, key, scale=1.0: MLP(sizes, activation=normed_silu, final_scale=scale, key=key)  # noqa: E731
        self.encoder = body(num_features, n, n, key=keys[0])
        self.entry = Linear(z + num_actions, n, key=keys[1])
        self.gates = Linear(n + m, 3 * m, key=keys[2])
        self.prior = body(m, n, z, key=keys[3])
        self.posterior = body(m + n, n, z, key=keys[4])
        self.decoder = body(m + z, n, n, num_features, key=keys[5])
        self.reward = body(m, n, NUM_BINS, scale=0.0, key=keys[6])
        self.goes_on = body(m, n, 1, key=keys[7])
        self.num_actions, self.memory_size = num_actions, m
        self.shape = config.num_latents, config.num_classes

    @property
    def state_size(self) -> int:
        """Length of `Moments.state`."""
        return self.memory_size + self.shape[0] * self.shape[1]

    def initial(self, *batch: int) -> Float[Array, "*batch memory"]:
        """Return the memory of nothing."""
        return jnp.zeros((*batch, self.memory_size))

    def expected(self, memory: Float[Array, "*batch memory"]) -> Float[Array, "*batch latents classes"]:
        """Return the logits of p(z | h)."""
        return self._logits(self.prior(memory))

    def seen(self, memory: Float[Array, "*batch memory"], obs: Array) -> Float[Array, "*batch latents classes"]:
        """Return the logits of q(z | h, x)."""
        return self._read(memory, normed_silu(self.encoder(self.encode(obs))))

    def _read(self, memory: Array, embedded: Array) -> Array:
        return self._logits(self.posterior(jnp.concatenate([memory, embedded], -1)))

    def _logits(self, flat: Array) -> Array:
        return mixed(flat.reshape(*flat.shape[:-1], *self.shape))

    def draw(self, logits: Float[Array, "*batch latents classes"], key: jax.Array) -> Float[Array, "*batch latent"]:
        """Draw a latent, through which gradients pass as if it were its probabilities."""
        chance = jnp.exp(logits)
        hot = jax.nn.one_hot(jax.random.categorical(key, logits), self.shape[1])
        hot = hot + (chance - jax.lax.stop_gradient(chance))
        return hot.reshape(*hot.shape[:-2], -1)

    def step(
        self, memory: Float[Array, "*batch memory"], latent: Float[Array, "*batch latent"], action: Int[Array, "*batch"]
    ) -> Float[Array, "*batch memory"]:
        """Return the memory after acting."""
        done = jax.nn.one_hot(action, self.num_actions)
        entered = normed_silu(self.entry(jnp.concatenate([latent, done], -1)))
        reset, fresh, update = jnp.split(normed(self.gates(jnp.concatenate([entered, memory], -1))), 3, -1)
        update = jax.nn.sigmoid(update - 1)
        return update * jnp.tanh(jax.nn.sigmoid(reset) * fresh) + (1 - update) * memory

    def brings(self, after: Float[Array, "*batch memory"]) -> tuple[TwoHot, Float[Array, "*batch"]]:
        """Return what a step brings: the distribution of its reward, and the logit of going on."""
        return TwoHot(self.reward(after)), self.goes_on(after)[..., 0]

    def observe(self, rows: Row, key: jax.Array) -> tuple[Moments, Array]:
        """Follow experience `[time, ...]`; return its moments and the logits of q."""
        embedded = normed_silu(self.encoder(self.encode(rows.obs)))

        def tick(memory, at):
            embedded, first, action, key = at
            memory = jnp.where(first[..., None], 0, memory)
            logits = self._read(memory, embedded)
            latent = self.draw(logits, key)
            after = self.step(memory, latent, action)
            return after, (Moments(memory, latent, after), logits)

        keys = jax.random.split(key, len(rows.first))
        start = self.initial(*rows.first.shape[1:])
        return jax.lax.scan(tick, start, (embedded, rows.first, rows.action, keys))[1]

    def imagine(
        self, start: Moments, act: Callable, horizon: int, key: jax.Array
    ) -> tuple[Moments, Int[Array, "horizon *batch"]]:
        """Go on from moments: `act(state, key)` chooses; return the moments `[horizon + 1, ...]` and what was done."""

        def tick(at, key):
            act_key, draw_key = jax.random.split(key)
            memory, latent = at
            action = act(jnp.concatenate([memory, latent], -1), act_key)
            after = self.step(memory, latent, action)
            return (after, self.draw(self.expected(after), draw_key)), (Moments(memory, latent, after), action)

        keys = jax.random.split(key, horizon + 1)
        moments, actions = jax.lax.scan(tick, (start.memory, start.latent), keys)[1]
        return moments, actions[:-1]


def divergence(p: Float[Array, "*batch latents classes"], q: Float[Array, "*batch latents classes"]) -> Array:
    """Return KL(p ‖ q) in nats, of logits that are log-probabilities, summed over latents."""
    return (jnp.exp(p) * (p - q)).sum((-2, -1))


def model_loss(model: RecurrentModel, rows: Row, config: RecurrentConfig, key: jax.Array) -> tuple[Array, Moments]:
    """Return L of experience `[time, ...]`, a mean over its rows, and the moments."""
    moments, posterior = model.observe(rows, key)
    prior, stop = model.expected(moments.memory), jax.lax.stop_gradient
    drawn = ((model.decoder(moments.state) - model.encode(rows.obs)) ** 2).sum(-1)
    reward, goes_on = model.brings(moments.after)
    ends = nnx.softplus(jnp.where(rows.terminated, goes_on, -goes_on))
    learn = jnp.maximum(config.free_nats, divergence(stop(posterior), prior))
    simplify = jnp.maximum(config.free_nats, divergence(posterior, stop(prior)))
    loss = drawn - reward.log_prob(rows.reward) + ends
    return jnp.mean(loss + config.prior_coefficient * learn + config.posterior_coefficient * simplify), moments
