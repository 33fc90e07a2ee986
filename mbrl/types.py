"""The contracts of the mind: a policy, one step of experience, and a way to learn.

Every agent, scripted, recurrent or planning, is a policy: a pytree with two pure functions of unbatched arguments.

    memory = policy.begin(obs, key)                    # at the first observation of an episode
    action, memory = policy.act(memory, obs, key)      # at every tick, the first included

An agent that plans ahead of an episode is prepared on the host: `agent.extend(obs)`, a batch of observations for each
seed, plans for whatever can follow from them, and `agent.policy()` is then a policy, seeds along a first axis. Its
memory has a field `lost`, set once an observation came up that was not planned for, and `lost_obs`, that observation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt8


@runtime_checkable
class Policy(Protocol):
    """How every agent acts."""

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Any:
        """Return the memory with which an episode begins."""
        ...

    def act(self, memory: Any, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Int[Array, ""], Any]:
        """Choose an action."""
        ...


class Rates(NamedTuple):
    """What may differ from lane to lane of one training program: Adam's learning rate, and the discount per step."""

    learning_rate: Float[Array, "*lanes"]
    gamma: Float[Array, "*lanes"]


class Transition(NamedTuple):
    """One step of experience, or, with leading axes, many."""

    obs: UInt8[Array, "*batch height width 4"]
    action: Int[Array, "*batch"]
    reward: Float[Array, "*batch"]
    next_obs: UInt8[Array, "*batch height width 4"]


class Learner(NamedTuple):
    """A way to learn, as pure functions of one lane, which `vmap` takes over lanes.

    Attributes:
        init: `(key, data, rates) -> state`.
        update_chunk: `(state, data, num_updates) -> state, metrics [num_updates], seen`; what is seen can be counted.
        model: `state -> model`, what is learnt.
        rows: averages a chunk's metrics (NumPy, `[lanes, num_updates]`) into named columns `[lanes]`.
        stack: joins the data of several lanes.
    """

    init: Callable[[jax.Array, Any, Rates], Any]
    update_chunk: Callable[[Any, Any, int], tuple[Any, Any, Any]]
    model: Callable[[Any], Any]
    rows: Callable[[Any], dict[str, np.ndarray]]
    stack: Callable[[Sequence[Any]], Any]
