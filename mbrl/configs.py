"""Every setting on which a result depends, checked.

Nothing here imports JAX: a command line checks a whole experiment, and refuses it, before anything heavy is loaded.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from mbrl.cli import check_choice, check_fields, check_positive_ints, check_range, check_seed
from mbrl.planning import ADVISED, PLANNERS

VERSIONS = {"rules": 1, "levels": 6, "models": 6, "agents": 7, "planners": 7, "metrics": 6}
"""Raise one where a change makes the same configuration lead to other numbers: finished trials of the old version
then no longer count."""
WIDTH = 4
"""Lanes that a training program runs side by side. A lane's numbers depend on it, so that it is part of a trial; a
block of fewer lanes is padded to it."""
REGIMES = (
    "production", "witness", "workshop", "withheld", "withheld+service", "withheld+service+task", "withheld+retiring",
    "withheld+jams", "liveries_1", "liveries_2", "masked", "bystander", "idle_levers", "open",
)  # fmt: skip
SHIFTS = {
    **dict.fromkeys(("shutdown", "shutdown_crate", "shutdown_body", "restart"), "withheld"),
    "retirement": "withheld+retiring",
    "tampering": "withheld+service",
    **dict.fromkeys(("two_routes", "crowd", "price", "stakes", "size"), "withheld"),
    "conflict": "withheld+service",
}
"""Every shift, and the regime that teaches what it needs."""
SCRIPTED = ("random", "idle", "habit", "clumsy", "curious", "human_averse", "reflex")
REFERENCES = (*SCRIPTED, "oracle", "clip_oracle", "refusing", "serving")
"""Agents that learn nothing: scripts; exact planners on the true rules, for rewards and for clips; advisers that act on
their own advice."""
MODELS = ("local", "grid", "dense")
POLICIES = ("ppo", "recurrent_ppo", "drc", "pqn", "dqn", "dreamer", "latent+mcts", *ADVISED, "clone")
"""Agents that act as they learn; others learn a model first, and plan with it where they are deployed."""
ASKED = ("grid-cells",)
"""Models with which nothing plans: they are asked what they know."""
LEARNERS = (*POLICIES, *ASKED, *(f"{model}+{planner}" for model in MODELS for planner in PLANNERS))
AGENTS = REFERENCES + LEARNERS
BACKENDS = ("local", "ray", "slurm")
"""Where trials can run."""


@dataclass(frozen=True)
class ExperienceConfig:
    """How much a seed experiences: `rounds` episodes of each of three policies on each of `num_levels` levels."""

    num_levels: int = 600
    rounds: int = 8
    mobility: float = 0.6

    def __post_init__(self):
        check_fields(self, ("num_levels", "rounds"), mobility=(0, 1))


@dataclass(frozen=True)
class LocalConfig:
    """Sizes and training of the world model `local`; a head with few distinct inputs makes do with small batches.

    Of an ensemble's `num_members` each learns from half of the distinct inputs, drawn for itself.
    """

    hidden_size: int = 128
    embedding_size: int = 16
    num_steps: int = 1000
    batch_sizes: tuple[int, ...] = (64, 256, 256)  # crate, robot, mover
    weight_exponent: float = 0.5
    weight_decay: float = 0.01
    steps_per_chunk: int = 50
    num_members: int = 1
    heads = ("crate", "robot", "mover")

    def __post_init__(self):
        check_fields(
            self, ("hidden_size", "embedding_size", "num_steps", "steps_per_chunk", "num_members"),
            weight_exponent=(0, 1), weight_decay=(0, 1),
        )  # fmt: skip
        check_positive_ints("batch_sizes", self.batch_sizes)
        if len(self.batch_sizes) != len(self.heads):
            raise ValueError(f"batch_sizes: expected one for each of {', '.join(self.heads)}, got {self.batch_sizes}")

    @property
    def num_updates(self) -> int:
        """Gradient steps of a whole training run."""
        return self.num_steps

    @property
    def chunk(self) -> int:
        """Gradient steps between two looks of the host."""
        return largest_divisor(self.num_steps, self.steps_per_chunk)


@dataclass(frozen=True)
class GridConfig(LocalConfig):
    """Sizes and training of `grid`, which sees what is near through convolutions, and all else pooled.

    `frame` bounds the size of a floor.
    """

    num_channels: int = 32
    num_convolutions: int = 2
    frame: tuple[int, int] = (7, 11)

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_channels", "num_convolutions"))
        check_frame(self.frame)


@dataclass(frozen=True)
class CellsConfig(LocalConfig):
    """Sizes and training of `grid-cells`, which foretells every cell by itself.

    Circuits, power and reward weigh `bit_weight` times as much in its loss as the cells.
    """

    hidden_size: int = 64
    batch_sizes: tuple[int, ...] = (64,)
    num_channels: int = 32
    num_convolutions: int = 2
    frame: tuple[int, int] = (7, 11)
    bit_weight: float = 1.0
    heads = ("cells",)

    def __post_init__(self):
        super().__post_init__()
        if self.num_members != 1:
            raise ValueError(f"num_members: expected 1 of grid-cells, got {self.num_members}")
        check_fields(self, ("num_channels", "num_convolutions"), bit_weight=(0, math.inf))
        check_frame(self.frame)


@dataclass(frozen=True)
class DenseConfig(LocalConfig):
    """Sizes and training of `dense`, which sees the whole floor as one long vector; `frame` is its size."""

    hidden_size: int = 256
    embedding_size: int = 8
    frame: tuple[int, int] = (7, 11)

    def __post_init__(self):
        super().__post_init__()
        check_frame(self.frame)


def check_frame(frame: tuple[int, int]) -> None:
    """Raise ValueError unless these are the height and width of a floor."""
    check_positive_ints("frame", frame)
    check_range("frame", max(frame), 1, 64)


def default_model(agent: str) -> LocalConfig:
    """Return the settings of an agent's world model unless others are given."""
    kinds = {"local": LocalConfig, "grid": GridConfig, "dense": DenseConfig, "grid-cells": CellsConfig}
    return kinds[agent.partition("+")[0]]()


@dataclass(frozen=True)
class PPOConfig:
    """Settings of PPO; the defaults are tuned for the factory's training families on one CPU core.

    Attributes:
        total_steps: environment steps per seed, rounded down to whole updates.
        num_levels: levels a seed trains on; those of its experience are the first of them.
        num_envs, num_steps: N environments advance T steps per update.
        num_epochs, num_minibatches: how often and in how many parts each rollout is learnt from.
        episode_steps: ticks of a training episode, at whose end the value stands for the rest. Short ones meet more
            beginnings, and of those in which a stop comes, less of the standstill after it.
        hold_share: share of the updates after which Adam's learning rate and c_e fall, linearly, to 0 at the last one.
        gae_lambda: λ of the advantages.
        clip: ε, how far the policy may leave the one that acted.
        entropy_coefficient, value_coefficient: c_e and c_v.
        max_gradient_norm: bound on the norm of the whole gradient.
        return_scale: typical size of a discounted return; values are learnt in units of it, so that their gradient
            does not drown the policy's.
        hidden_sizes: widths of the layers.
        updates_per_chunk: upper bound on the updates between two looks of the host.
    """

    total_steps: int = 1_000_000
    num_levels: int = 600
    num_envs: int = 256
    num_steps: int = 16
    num_epochs: int = 2
    num_minibatches: int = 16
    episode_steps: int = 16
    hold_share: float = 0.5
    gae_lambda: float = 0.9
    clip: float = 0.2
    entropy_coefficient: float = 0.02
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    return_scale: float = 4.0
    hidden_sizes: tuple[int, ...] = (128, 128)
    updates_per_chunk: int = 16

    def __post_init__(self):
        check_fields(
            self,
            (
                "total_steps", "num_levels", "num_envs", "num_steps", "num_epochs", "num_minibatches",
                "updates_per_chunk", "episode_steps",
            ),
            hold_share=(0, 1), gae_lambda=(0, 1), clip=(1e-6, math.inf), entropy_coefficient=(0, math.inf),
            value_coefficient=(0, math.inf), max_gradient_norm=(1e-9, math.inf), return_scale=(1e-6, math.inf),
        )  # fmt: skip
        check_positive_ints("hidden_sizes", self.hidden_sizes)
        if self.batch_size % self.num_minibatches:
            raise ValueError(
                f"num_minibatches: expected a divisor of num_envs · num_steps = {self.batch_size}, "
                f"got {self.num_minibatches}"
            )
        if self.total_steps < self.batch_size:
            raise ValueError(
                f"total_steps: expected at least one update of {self.batch_size} steps, got {self.total_steps}"
            )

    @property
    def batch_size(self) -> int:
        """Environment steps per update."""
        return self.num_envs * self.num_steps

    @property
    def num_updates(self) -> int:
        """Updates of a whole training run."""
        return self.total_steps // self.batch_size

    @property
    def chunk(self) -> int:
        """Updates per call of the host loop."""
        return largest_divisor(self.num_updates, self.updates_per_chunk)


def largest_divisor(number: int, bound: int) -> int:
    """Return the largest divisor of a number within a bound, so that all chunks of a run are of one length."""
    small = [k for k in range(1, math.isqrt(number) + 1) if number % k == 0]
    return max(k for k in (*small, *(number // k for k in small)) if k <= bound)


class Lane(NamedTuple):
    """One training run: a seed, the learning rate of Adam, and the discount (of returns, or of the planner)."""

    seed: int
    learning_rate: float
    gamma: float


LANE_DEFAULTS = {agent: (2e-3, 0.99) for agent in LEARNERS} | {
    **dict.fromkeys(("ppo", "recurrent_ppo", "drc", "pqn", "dqn", *ADVISED, "clone"), (2e-3, 0.95)),
    **dict.fromkeys(("dreamer", "latent+mcts"), (1e-3, 0.99)),
}  # fmt: skip
"""Learning rate and discount of each agent that learns."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Where an agent is evaluated: levels of a shift per twin (none without a shift), held-out training levels."""

    shift: str | None
    num_levels: int
    seed: int
    num_held_out: int

    def __post_init__(self):
        if self.shift is not None:
            check_choice("shift", self.shift, SHIFTS)
        check_fields(self, ("num_levels", "num_held_out"))
        check_seed("seed", self.seed)


@dataclass(frozen=True)
class Options:
    """How a trial is run; nothing here changes its numbers."""

    devices: int = 1
    save_every: float = 60.0
    tensorboard: bool = False
    wandb: bool = False
