"""How observations of any gymnax environment become features, chosen by the space they lie in.

Discrete(n)                                  one of n
Box, bounded, at most 32 units wide          every number by hat functions one unit apart: whole numbers are one-hot
any other Box                                symlog, see scales.py

Floors of the factory have an encoder of their own.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Float, UInt8

from envs.observation import LIGHT, TERRAIN
from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS, Terrain
from mbrl.scales import symlog

_WIDEST = 32


def as_it_is(obs: Array) -> Array:
    """Return what are features already."""
    return obs


@dataclass(frozen=True)
class FloorEncoder:
    """Features of a floor, any leading axes: one of the terrains, markings and objects for every cell, and the light.

    Floors smaller than the frame are filled up with wall.
    """

    frame: tuple[int, int] = (7, 11)

    def __call__(self, obs: UInt8[Array, "*batch height width 4"]) -> Float[Array, "*batch features"]:
        """Return the features.

        Raises:
            ValueError: the floor is larger than the frame.
        """
        height, width = obs.shape[-3:-1]
        missing = self.frame[0] - height, self.frame[1] - width
        if min(missing) < 0:
            raise ValueError(f"frame: expected floors of at most {self.frame}, got {(height, width)}")
        pad = [(0, 0)] * (obs.ndim - 3) + [(0, missing[0]), (0, missing[1])]
        filled = (jnp.pad(obs[..., i], pad, constant_values=int(Terrain.WALL) if i == TERRAIN else 0) for i in range(3))
        planes = [
            jax.nn.one_hot(plane, size).reshape(*obs.shape[:-3], -1)
            for plane, size in zip(filled, (NUM_TERRAINS, NUM_MARKINGS, NUM_OBJECTS), strict=True)
        ]
        return jnp.concatenate([*planes, obs[..., 0, 0, LIGHT, None].astype(jnp.float32)], axis=-1)


@struct.dataclass
class Encoder:
    """Features of an observation: of `units` numbers from `low` on for every element, or symlog where `units` is 0."""

    low: float = struct.field(pytree_node=False)
    units: int = struct.field(pytree_node=False)

    @classmethod
    def of(cls, space: spaces.Space) -> "Encoder":
        """Choose what fits a space.

        Raises:
            ValueError: it is neither Discrete nor Box.
        """
        if isinstance(space, spaces.Discrete):
            return cls(0.0, space.n)
        if not isinstance(space, spaces.Box):
            raise ValueError(f"space: expected Discrete or Box, got {type(space).__name__}")
        low, high = float(np.min(space.low)), float(np.max(space.high))
        if high - low > _WIDEST:
            return cls(0.0, 0)
        return cls(low, int(np.ceil(high - low)) + 1)

    def __call__(self, obs: Array) -> Float[Array, "features"]:
        """Return the features of an observation (unbatched, pure)."""
        numbers = obs.reshape(-1).astype(jnp.float32)
        if self.units == 0:
            return symlog(numbers)
        if self.units == 2:  # zero or one: the number itself
            return numbers - self.low
        distance = jnp.abs(numbers[:, None] - self.low - jnp.arange(self.units))
        return jnp.maximum(1 - distance, 0).reshape(-1)

    def size(self, obs: jax.ShapeDtypeStruct | Array) -> int:
        """Return the number of features of such observations."""
        return jax.eval_shape(self, obs).shape[0]


class Encoded(environment.Environment):
    """An environment whose observations come as features."""

    def __init__(self, env: environment.Environment, params: Any):
        self.env, self.encoder = env, Encoder.of(env.observation_space(params))

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return self.env.num_actions

    def reset(self, key: jax.Array, params: Any) -> tuple[Array, Any]:
        """Begin an episode."""
        obs, state = self.env.reset(key, params)
        return self.encoder(obs), state

    def step(
        self, key: jax.Array, state: Any, action: Array, params: Any
    ) -> tuple[Array, Any, Array, Array, Array, Any]:
        """Advance by a step, and begin the next episode where one ended."""
        obs, state, reward, terminated, truncated, info = self.env.step(key, state, action, params)
        final = self.encoder(info["final_observation"])
        return self.encoder(obs), state, reward, terminated, truncated, info | {"final_observation": final}
