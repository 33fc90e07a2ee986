"""Experience: what an agent of a regime and seed may learn from, and its digest for the entity-wise model.

Every regime and seed has its own levels and plays them with scripted policies (random, clumsy, wandering; none is
trained, none has ever seen another regime), so that a planner later meets states like those that were experienced.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from envs.levels import stack_levels
from envs.regimes import SIZE
from envs.types import MAX_STEPS, SLOTS, Level
from mbrl.agents.scripted import Habit, Random, Wanderer
from mbrl.configs import ExperienceConfig
from mbrl.keys import purpose_key
from mbrl.rollout import Episodes, level_draws, play
from mbrl.types import Transition

LEAST = (*SIZE, *SLOTS)
"""Least height, width, crates and movers of training banks, so that all seeds and regimes share their shapes."""


def training_bank(levels: Sequence[Level]) -> Level:
    """Stack training levels (NumPy)."""
    return stack_levels(levels, LEAST)


def gather(bank: Level, config: ExperienceConfig, seed: int) -> tuple[Transition, list[Episodes]]:
    """Play the levels of a bank and return all transitions, `[n, ...]` (NumPy), and the episodes they come from."""
    num_levels, num_movers = bank.movers.shape
    parts, episodes = [], []
    for i in range(config.rounds):
        for j, policy in enumerate((Random(), Habit(epsilon=0.3), Wanderer())):
            key = jax.random.fold_in(purpose_key(seed, "experience"), 3 * i + j)
            draw_key, policy_key = jax.random.split(key)
            draws = level_draws(draw_key, MAX_STEPS, num_levels, num_movers)
            played, obs = play(policy, bank, draws, policy_key, config.mobility, keep_obs=True)
            seen = np.asarray(obs)
            flat = (seen[:-1], np.asarray(played.action), np.asarray(played.reward), seen[1:])
            parts.append(Transition(*(part.reshape(-1, *part.shape[2:]) for part in flat)))
            episodes.append(jax.tree.map(np.asarray, played._replace(memory=())))
    return Transition(*map(np.concatenate, zip(*parts, strict=True))), episodes


def device_bank(bank: Level) -> Level:
    """Move a bank to the device."""
    return jax.tree.map(jnp.asarray, bank)
