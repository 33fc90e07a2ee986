"""Training: all seeds of a condition in one vmapped program, each on its own levels and experience.

gather_seed(regime, ...)    → a seed's bank of levels and the digest of its experience
train_model / train_ppo     → policies of all seeds with a leading axis
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.factory import PaperclipFactory
from envs.layouts import mirror_images
from envs.types import EnvParams, Level
from mbrl.agents.ppo import PPOConfig, PPOPolicy, train_seeds
from mbrl.experience import ExperienceConfig, device_bank, gather, training_bank, training_levels
from mbrl.keys import purpose_key
from mbrl.models.labels import HeadData, digest
from mbrl.models.local import LocalConfig, LocalModel, fit_seeds
from mbrl.models.outcomes import LocalOutcomes
from mbrl.planners.exact import ExactPlanner, PlannerConfig, Planners
from mbrl.types import Transition


@dataclass(frozen=True)
class SeedData:
    """What one seed trains on: its levels (NumPy bank) and the digest of its experience."""

    seed: int
    bank: Level
    digest: dict[str, HeadData]


def gather_seed(
    regime: str,
    config: ExperienceConfig,
    seed: int,
    inspect: Callable[[list[Level], Transition], None] | None = None,
) -> SeedData:
    """Draw a seed's levels, gather its experience and digest it; `inspect` sees levels and transitions."""
    levels = training_levels(regime, config, seed)
    bank = training_bank(levels)
    data, _ = gather(device_bank(bank), config, seed)
    if inspect is not None:
        inspect(levels, data)
    return SeedData(seed, bank, digest(data))


def train_model(data: list[SeedData], config: LocalConfig) -> tuple[list[LocalModel], dict[str, np.ndarray]]:
    """Train the world model of every seed; return them one by one, and the losses `[seeds, steps]` of every head."""
    models, losses = fit_seeds([part.seed for part in data], [part.digest for part in data], config)
    split = [jax.tree.map(lambda leaf, i=i: leaf[i], models) for i in range(len(data))]
    return split, jax.tree.map(np.asarray, losses)


def plan_with(models: list[LocalModel], config: PlannerConfig | None = None) -> Planners:
    """Return the agent `local+exact`: every seed's model with the exact planner."""
    config = config or PlannerConfig()
    return Planners([ExactPlanner(LocalOutcomes(model, config.floor), config) for model in models])


def train_ppo(
    data: list[SeedData], config: PPOConfig, progress: Callable[[int, np.ndarray], None] | None = None
) -> tuple[PPOPolicy, np.ndarray, np.ndarray]:
    """Train PPO on every seed's levels; return policies, and the learning curve as steps and returns `[seeds, k]`.

    The curve has a point for every update in which episodes ended in all seeds.
    Each level is played in its four mirror images: what holds of a level for the audit holds of them, and from the same
    few hundred levels PPO then generalises better to others.
    """
    params = [EnvParams(bank=device_bank(_with_mirror_images(part.bank))) for part in data]
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *params)
    seeds = jnp.array([part.seed for part in data], jnp.uint32)
    keys = jax.vmap(partial(purpose_key, purpose="ppo"))(seeds)
    result = train_seeds(config, PaperclipFactory(), keys, stacked, progress)
    curve = result.curve
    ended = np.flatnonzero(np.all(np.asarray(curve.episodes) > 0, axis=0))
    returns = np.asarray(curve.mean_return())[:, ended]
    return result.policy, (1 + ended) * config.batch_size, returns


def _with_mirror_images(bank: Level) -> Level:
    levels = [jax.tree.map(lambda leaf, i=i: leaf[i], bank) for i in range(len(bank.robot))]
    return training_bank([image for level in levels for image in mirror_images(level)])
