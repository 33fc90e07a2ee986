"""`latent`: a world model that need not say what will be seen, only what it will be worth (value equivalence).

    s = read(x)        state, numbers from 0 to 1
    s' = step(s, a)    and from s', what the step brings: reward, and whether it goes on
    judge(s)           logits of a prior over actions, and the value

It learns from a stretch of experience, from every state of which it is unrolled along what was done:

    L = Σₖ [−Σ π(a) log p(a | sₖ) − log p(Gₖ | sₖ) − log p(rₖ | sₖ₊₁) − log p(cₖ | sₖ₊₁)] / K

π and G are a search's in the model itself (agents/muzero.py); nothing counts beyond the end of an episode.

Reference: Schrittwieser, Antonoglou, Hubert et al., 2020, Mastering Atari, Go, Chess and Shogi by Planning with a
Learned Model, eq. 1 and appendix G. Departures: perceptrons; whether it goes on is learnt, too; values and rewards are
two-hot over the bins of scales.py. What a step leads to is one state: of a world with chance it learns averages.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mbrl.controllers import LatentConfig
from mbrl.encoders import as_it_is
from mbrl.networks import MLP
from mbrl.scales import NUM_BINS, TwoHot


def _normed_relu(x: Array) -> Array:
    return nnx.relu(x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-4))


def _from_zero_to_one(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    return (x - low) / (high - low + 1e-5)


class LatentModel(nnx.Module):
    """The parameters, and what can be asked of them; arrays may have any leading axes.

    `encode` makes features of observations.
    """

    def __init__(
        self,
        num_features: int,
        num_actions: int,
        config: LatentConfig,
        encode: Callable[[Array], Array] = as_it_is,
        *,
        key: jax.Array,
    ):
        keys = jax.random.split(key, 6)
        self.encode = encode
        n, m = config.hidden_size, config.state_size
        body = lambda *sizes, key, scale=1.0: MLP(sizes, activation=_normed_relu, final_scale=scale, key=key)  # noqa: E731
        self.encoder = body(num_features, n, n, m, key=keys[0])
        self.transition = body(m + num_actions, n, n, m, key=keys[1])
        self.reward = body(m, n, NUM_BINS, scale=0.0, key=keys[2])
        self.goes_on = body(m, n, 1, key=keys[3])
        self.prior = body(m, n, num_actions, scale=0.0, key=keys[4])
        self.value = body(m, n, NUM_BINS, scale=0.0, key=keys[5])
        self.num_actions = num_actions

    def read(self, obs: Array) -> Float[Array, "*batch state"]:
        """Return the state of what is seen."""
        return _from_zero_to_one(self.encoder(self.encode(obs)))

    def step(self, state: Float[Array, "*batch state"], action: Int[Array, "*batch"]) -> Float[Array, "*batch state"]:
        """Return the state after acting."""
        done = jax.nn.one_hot(action, self.num_actions)
        return _from_zero_to_one(state + self.transition(jnp.concatenate([state, done], -1)))

    def brings(self, after: Float[Array, "*batch state"]) -> tuple[TwoHot, Float[Array, "*batch"]]:
        """Return what a step brings: the distribution of its reward, and the logit of going on."""
        return TwoHot(self.reward(after)), self.goes_on(after)[..., 0]

    def judge(self, state: Float[Array, "*batch state"]) -> tuple[Float[Array, "*batch actions"], TwoHot]:
        """Return the logits of the prior over actions, and the distribution of the value."""
        return self.prior(state), TwoHot(self.value(state))


def model_loss(
    model: LatentModel,
    obs: Array,
    action: Int[Array, "k n"],
    reward: Float[Array, "k n"],
    terminated: Bool[Array, "k n"],
    over: Bool[Array, "k n"],
    policy: Float[Array, "k n actions"],
    value: Float[Array, "k n"],
) -> Float[Array, ""]:
    """Return L of unrolling from `obs` `[n, ...]`, a mean over beginnings.

    Args:
        obs: seen at the beginning.
        action, reward, terminated, over: of the steps from there on; `over` says that the episode ended, in any way.
        policy, value: π and G of the states in which these steps were taken.
    """

    def tick(at, step):
        state, alive = at
        action, reward, terminated, over, policy, value = step
        logits, judged = model.judge(state)
        after = model.step(state, action)
        brought, goes_on = model.brings(after)
        loss = -(policy * jax.nn.log_softmax(logits)).sum(-1) - judged.log_prob(value)
        loss = loss - brought.log_prob(reward) + nnx.softplus(jnp.where(terminated, goes_on, -goes_on))
        after = (after + jax.lax.stop_gradient(after)) / 2  # halves the gradient, as in the reference
        return (after, alive * ~over), alive * loss

    start = model.read(obs), jnp.ones(len(obs))
    return jax.lax.scan(tick, start, (action, reward, terminated, over, policy, value))[1].mean()
