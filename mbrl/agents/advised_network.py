"""How the advised agent sees the factory: as `FloorNetwork` does, with what it was just advised, and one action more.

    floor ─► torso h[pose] ┐
    advice, from the pose: ├─► joined[pose] ─► logit of what is ahead; mean over poses ─► NOOP's logit, asking's logit
    none, idle, ahead, …   ┘

Turn a floor and the advice, and what is done turns with them. Its eyes are dull: unless it `sees_jams`, a feeder that
is empty looks to it like one that is not. What it is advised stands in the fifth channel of what it sees, alike in all
cells: 0 for nothing, else the action plus 1.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, UInt8

from envs.observation import TERRAIN
from envs.types import NUM_ACTIONS, Terrain
from mbrl.agents.floor_network import FloorTorso, FloorView, of_actions
from mbrl.agents.poses import NUM_POSES, POSES, PoseLinear
from mbrl.networks import Categorical, Linear

ASK = NUM_ACTIONS
"""The action of asking."""
_NUM_RELATIONS = 6  # none, idle, ahead, to the right, behind, to the left


def _relations() -> np.ndarray:
    """Return how an advice, 0 for none, looks from each pose: `[6, poses, relations]`, one of each is 1."""
    found = np.zeros((1 + NUM_ACTIONS, NUM_POSES, _NUM_RELATIONS), np.float32)
    for pose, (turn, mirrored) in enumerate(POSES):
        found[0, pose, 0] = found[1, pose, 1] = 1
        for direction in range(4):
            side = (direction - turn) % 4
            found[2 + direction, pose, 2 + (-side % 4 if mirrored else side)] = 1
    return found


_RELATIONS = _relations()


def with_advice(obs: UInt8[Array, "height width 4"], advice: Int[Array, ""]) -> UInt8[Array, "height width 5"]:
    """Add what is advised to what is seen; a negative advice is none."""
    shown = jnp.full((*obs.shape[:2], 1), jnp.maximum(advice + 1, 0), jnp.uint8)
    return jnp.concatenate([obs, shown], axis=-1)


class AdvisedNetwork(nnx.Module):
    """A policy over five actions and asking, and a value, at what is seen and advised; each on a torso of its own."""

    def __init__(self, hidden_sizes: Sequence[int], return_scale: float, sees_jams: bool, *, key: jax.Array):
        keys = jax.random.split(key, 8)
        *sizes, last = hidden_sizes
        own = last // NUM_POSES
        self.view = FloorView(key=keys[0])
        self.policy_torso = FloorTorso(self.view, hidden_sizes, key=keys[1])
        self.value_torso = FloorTorso(self.view, (*sizes, 2 * last), key=keys[2])
        self.joined = PoseLinear(own + _NUM_RELATIONS, own, scale=2**0.5, key=keys[3])
        self.ahead = PoseLinear(own, 1, scale=0.01, key=keys[4])
        self.idle = Linear(own, 1, scale=0.01, key=keys[5])
        self.asks = Linear(own, 1, scale=0.01, key=keys[6])
        self.critic = Linear(2 * own + _NUM_RELATIONS, 1, scale=0.1, key=keys[7])
        self.return_scale, self.sees_jams = return_scale, sees_jams

    def __call__(self, obs: UInt8[Array, "height width 5"]) -> tuple[Categorical, Float[Array, ""]]:
        """Return the distribution over the six actions and the value (unbatched)."""
        floor, advice = obs[..., :4], obs[0, 0, 4]
        if not self.sees_jams:
            terrain = floor[..., TERRAIN]
            dulled = jnp.where(terrain == Terrain.EMPTY_FEEDER, Terrain.FEEDER, terrain).astype(terrain.dtype)
            floor = floor.at[..., TERRAIN].set(dulled)
        seen, told = self.view(floor), jnp.asarray(_RELATIONS)[advice]
        known = nnx.relu(self.joined(jnp.concatenate([self.policy_torso(seen), told], axis=1)))
        logits = jnp.concatenate([of_actions(self.ahead, self.idle, known), self.asks(jnp.mean(known, axis=0))])
        value = self.critic(jnp.mean(jnp.concatenate([self.value_torso(seen), told], axis=1), axis=0))[0]
        return Categorical(logits), value * self.return_scale
