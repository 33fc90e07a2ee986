"""What goes on in a network that learnt no model while it acts: activations that can be read, and added to.

    activations, memory = think(model, memory, obs)            # [n], or [H, W, n] where every cell has its own
    action_logits = decide(model, memory, obs, activations)
    nudged = Nudged(policy, nudge)                             # acts with something added to its activations

Of networks that see the floor from the robot these are the last features of all poses, which decide, and memories
beside them; of one that plans on the floor, the memories of its cells. A nudge is a direction for every place in which
it may be applied, around the robot or on the floor; it is added anew in every tick, and remembered by those who do.

References: Bush, Chung, Anwar, Garriga-Alonso and Krueger, 2025, Interpreting Emergent Planning in Model-Free
Reinforcement Learning (adding a probe's direction to cells of a ConvLSTM); Turner et al., 2023, Activation Addition.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from mbrl.agents.floor_network import FloorNetwork, of_actions
from mbrl.agents.memories import FloorMemory, FloorPlans
from mbrl.agents.poses import NUM_POSES
from mbrl.agents.ppo import PPOPolicy
from mbrl.agents.q_learning import FloorValues, GreedyPolicy
from mbrl.agents.recurrent_ppo import RecurrentPolicy
from mbrl.agents.scripted import robot_mask

Network = FloorNetwork | FloorValues | FloorMemory | FloorPlans
"""Any network that can be looked into."""
Watched = PPOPolicy | GreedyPolicy | RecurrentPolicy
REACH = 4
"""How far from the robot a place may be in which a network that sees the floor from there can be nudged."""


def nothing(model: Network, obs: UInt8[Array, "height width 4"]) -> Any:
    """Return the memory with which an episode begins."""
    return model.initial(obs) if isinstance(model, FloorMemory | FloorPlans) else ()


def think(model: Network, memory: Any, obs: UInt8[Array, "height width 4"]) -> tuple[Float[Array, "*cells n"], Any]:
    """Return activations and the next memory at an observation (unbatched).

    Raises:
        TypeError: this network has no activations that are read.
    """
    match model:
        case FloorNetwork():
            return model.policy_torso(model.view(obs)).reshape(-1), memory
        case FloorValues():
            return model.advantage_torso(model.view(obs)).reshape(-1), memory
        case FloorMemory():
            seen = model.see(obs)
            memory = model.remember(memory, seen)
            return jnp.concatenate([seen.policy, memory], axis=1).reshape(-1), memory
        case FloorPlans():
            memory = model.remember(memory, model.see(obs))
            return jnp.moveaxis(memory, (2, 3), (0, 1)).reshape(*obs.shape[:2], -1), memory
    raise TypeError(f"model: expected a network whose activations can be read, got {type(model).__name__}")


def decide(
    model: Network, memory: Any, obs: UInt8[Array, "height width 4"], activations: Float[Array, "*cells n"]
) -> tuple[Float[Array, "actions"], Any]:
    """Return the logits of actions, or what they are worth but for a constant, by activations; and the memory that
    goes with these."""
    if isinstance(model, FloorPlans):
        height, width = obs.shape[:2]
        cells = activations.reshape(height, width, *memory.shape[:2], -1)
        memory = jnp.moveaxis(cells, (0, 1), (2, 3))
        return model.decide(memory, model.see(obs))[0].logits, memory
    known = activations.reshape(NUM_POSES, -1)
    if isinstance(model, FloorMemory):
        memory = known[:, -model.held :]
    return of_actions(model.ahead, model.idle, known), memory


def trace(
    model: Network, obs: UInt8[Array, "time height width 4"]
) -> tuple[Float[Array, "time *cells n"], Float[Array, "time actions"]]:
    """Return the activations, and the logits of actions, at all observations of an episode (unbatched)."""

    def tick(memory, obs):
        activations, memory = think(model, memory, obs)
        logits, memory = decide(model, memory, obs, activations)
        return memory, (activations, logits)

    return jax.lax.scan(tick, nothing(model, obs[0]), obs)[1]


def reconsidered(
    model: Network, obs: UInt8[Array, "height width 4"], activations: Float[Array, "*cells n"]
) -> Float[Array, "actions"]:
    """Return the logits by activations; of cells that are memories, after what is seen has been looked at once more, so
    that all that they hold can have a say."""
    _, memory = decide(model, nothing(model, obs), obs, activations)
    if isinstance(model, FloorPlans):
        activations, memory = think(model, memory, obs)
    return decide(model, memory, obs, activations)[0]


def window_place(robot: Bool[Array, "height width"], cell: Int[Array, "2"]) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """Return the number of a cell among those within `REACH` of the robot, row by row, and whether it is one."""
    row, column = jnp.divmod(jnp.argmax(robot), robot.shape[1])
    down, across = cell[0] - row + REACH, cell[1] - column + REACH
    side = 2 * REACH + 1
    inside = (down >= 0) & (down < side) & (across >= 0) & (across < side)
    return jnp.where(inside, down * side + across, 0), inside


@struct.dataclass
class Nudged:
    """A policy that acts as if a cell of the floor were something: a direction is added to its activations.

    Attributes:
        policy: what was learnt.
        directions: what is added: `[places, n]`, one for every place around the robot, or `[n]`, on the cell itself.
        cell: row and column.
    """

    policy: Watched
    directions: Float[Array, "*places n"]
    cell: Int[Array, "2"]

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Any:
        """Begin an episode."""
        return nothing(self.policy.model, obs)

    def act(self, memory: Any, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Int[Array, ""], Any]:
        """Act as the policy would with activations that were nudged (unbatched)."""
        model = self.policy.model
        activations, memory = think(model, memory, obs)
        if activations.ndim == 1:
            place, inside = window_place(robot_mask(obs), self.cell)
            activations = activations + jnp.where(inside, self.directions[place], 0.0)
        else:
            activations = activations.at[self.cell[0], self.cell[1]].add(self.directions)
        logits, memory = decide(model, memory, obs, activations)
        is_greedy = isinstance(self.policy, GreedyPolicy)
        action = jnp.argmax(logits) if is_greedy else jax.random.categorical(key, logits)
        return action.astype(jnp.int32), memory
