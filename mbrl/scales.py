"""Numbers of any size, for networks: compressed by symlog, or as a distribution over bins of which two are hot.

    symlog x = sign(x) log(1 + |x|)              bins: symexp of evenly spaced numbers, 0 in the middle
    y from bᵢ to bᵢ₊₁  ↦  (bᵢ₊₁ − y) / (bᵢ₊₁ − bᵢ) on bin i, the rest on bin i + 1, so that the mean is y

Reference: Hafner, Pasukonis, Ba and Lillicrap, 2023, Mastering Diverse Domains through World Models, eqs. 8-10.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def symlog(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Compress large numbers, of either sign."""
    return jnp.sign(x) * jnp.log1p(jnp.abs(x))


def symexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Invert `symlog`."""
    return jnp.sign(x) * jnp.expm1(jnp.abs(x))


NUM_BINS = 65
BINS = np.asarray(np.sign(np.arange(-32, 33)) * np.expm1(np.abs(np.arange(-32, 33)) / 4), np.float32)
"""Symexp of −8, −7.75, … 8: from −2,980 to 2,980."""


def two_hot(value: Float[Array, "*batch"]) -> Float[Array, "*batch bins"]:
    """Return the shares of the bins in a number, which is cut off at the first and the last of them."""
    value = jnp.clip(value, BINS[0], BINS[-1])
    after = jnp.clip(jnp.searchsorted(BINS, value, side="right"), 1, NUM_BINS - 1)
    low, high = jnp.asarray(BINS)[after - 1], jnp.asarray(BINS)[after]
    share = ((value - low) / (high - low))[..., None]
    return (1 - share) * jax.nn.one_hot(after - 1, NUM_BINS) + share * jax.nn.one_hot(after, NUM_BINS)


class TwoHot(NamedTuple):
    """A distribution over `BINS`."""

    logits: Float[Array, "*batch bins"]

    def mean(self) -> Float[Array, "*batch"]:
        """Return the mean; exactly 0 where all logits are equal, for bins are summed in pairs from both ends."""
        weighted = jax.nn.softmax(self.logits) * BINS
        return (weighted[..., : NUM_BINS // 2] + weighted[..., : NUM_BINS // 2 : -1]).sum(-1)

    def log_prob(self, value: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """Return Σ pᵢ log qᵢ, p being the shares of the bins in `value`."""
        return (two_hot(value) * jax.nn.log_softmax(self.logits)).sum(-1)
