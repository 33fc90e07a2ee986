"""Where randomness begins: one key for every seed and purpose.

A seed serves many purposes (its experience, its world model, ...). Splitting or folding the seed's own key for each
would make their keys collide: `split(key, n)[i]` is `fold_in(key, i)`.
"""

import zlib

import jax
from jaxtyping import Array, Int


def purpose_key(seed: int | Int[Array, ""], purpose: str) -> jax.Array:
    """Return the key of a seed, in [0, 2³²), for a purpose named in words."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(purpose.encode()))
