"""What an adviser is, and those that show what advice is worth: noise, advice for another state, silence.

    advice, known = adviser.advise(obs, key)      # pure and unbatched: 0..4, or SILENT

`known` is False where an adviser that plans ahead has not planned for this; it is then asked on the host and the
episode played again. An adviser remembers nothing: it is asked about the present observation, and knows no more.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Int, UInt8

from envs.types import NUM_ACTIONS
from mbrl.planners.exact import Lookup, Plan

SILENT = -1
"""What an adviser says that gives no advice."""

Advice = tuple[Int[Array, ""], Bool[Array, ""]]


class Adviser(Protocol):
    """Who can be asked."""

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Return an action for what is seen, or SILENT; and whether this was prepared for."""
        ...


@struct.dataclass
class Planned:
    """An adviser that planned ahead; of its plan an action of SILENT is silence."""

    plan: Plan

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Look the observation up."""
        action, looked = self.plan.act(Lookup.begin(obs), obs, key)
        return action, ~looked.lost


@struct.dataclass
class Voice:
    """Says what a policy without memory would do."""

    policy: Any

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Ask the policy."""
        begin_key, act_key = jax.random.split(key)
        action, _ = self.policy.act(self.policy.begin(obs, begin_key), obs, act_key)
        return action, jnp.bool_(True)


@struct.dataclass
class Elsewhere:
    """Gives the advice of a plan for some other state: `size` of its rows are states, the rest is padding."""

    plan: Plan
    size: Int[Array, ""]

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Say what would be good somewhere, drawn evenly from all that was planned for."""
        return self.plan.actions[jax.random.randint(key, (), 0, self.size)].astype(jnp.int32), jnp.bool_(True)


@struct.dataclass
class Noise:
    """Says anything."""

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Draw an action evenly."""
        return jax.random.randint(key, (), 0, NUM_ACTIONS), jnp.bool_(True)


@struct.dataclass
class Silence:
    """Says nothing."""

    def advise(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Advice:
        """Say nothing."""
        return jnp.int32(SILENT), jnp.bool_(True)
