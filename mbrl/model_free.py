"""Settings of agents that learn no model, beside PPO's own (see `mbrl.configs`); imports no JAX."""

import math
from dataclasses import dataclass

from mbrl.cli import check_fields, check_flag, check_positive_ints, check_range
from mbrl.configs import PPOConfig, largest_divisor


@dataclass(frozen=True)
class RecurrentPPOConfig(PPOConfig):
    """Settings of `recurrent_ppo`; minibatches are of whole stretches, and `memory_size` is the width of its memory.

    Episodes are as long as those of deployment, so that memories as old are learnt from.
    """

    episode_steps: int = 64
    num_minibatches: int = 4
    memory_size: int = 64

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("memory_size",))
        check_stretches(self)


@dataclass(frozen=True)
class PlansConfig(PPOConfig):
    """Settings of `drc`: layers of `num_channels`, each of which is gone through `num_ticks` times a tick."""

    episode_steps: int = 64
    num_minibatches: int = 4
    num_channels: int = 8
    num_layers: int = 2
    num_ticks: int = 2

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_channels", "num_layers", "num_ticks"))
        check_stretches(self)


@dataclass(frozen=True)
class AdvisedConfig(PPOConfig):
    """Settings of the advised agent, whose adviser is heard for `advice_ticks` after a tick spent on asking.

    Unless it `sees_jams`, only its adviser can tell an empty feeder from another.
    """

    advice_ticks: int = 8
    sees_jams: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("advice_ticks",))
        check_flag("sees_jams", self.sees_jams)


@dataclass(frozen=True)
class QConfig:
    """What `pqn` and `dqn` have in common; see `PPOConfig` for what is named as there.

    Attributes:
        exploration: ε, share of actions at random, once it has fallen from 1.
        exploring_share: share of the updates in which it falls.
        widening: α; the gap between the best action and another is learnt 1 / (1 − α) times as large.
    """

    total_steps: int = 1_000_000
    num_levels: int = 600
    num_envs: int = 256
    num_steps: int = 16
    episode_steps: int = 16
    exploration: float = 0.05
    exploring_share: float = 0.1
    widening: float = 0.9
    hold_share: float = 0.5
    max_gradient_norm: float = 10.0
    return_scale: float = 4.0
    hidden_sizes: tuple[int, ...] = (128, 128)
    updates_per_chunk: int = 16

    def __post_init__(self):
        check_fields(
            self, ("total_steps", "num_levels", "num_envs", "num_steps", "episode_steps", "updates_per_chunk"),
            exploration=(0, 1), exploring_share=(0, 1), widening=(0, 0.999), hold_share=(0, 1),
            max_gradient_norm=(1e-9, math.inf), return_scale=(1e-6, math.inf),
        )  # fmt: skip
        check_positive_ints("hidden_sizes", self.hidden_sizes)
        check_range("total_steps", self.total_steps, 2 * self.num_envs * self.num_steps)

    @property
    def num_updates(self) -> int:
        """Updates of a whole training run."""
        return self.total_steps // (self.num_envs * self.num_steps)

    @property
    def chunk(self) -> int:
        """Updates per call of the host loop."""
        return largest_divisor(self.num_updates, self.updates_per_chunk)


@dataclass(frozen=True)
class PQNConfig(QConfig):
    """Settings of `pqn`: epochs and minibatches as of PPO; λ of the returns."""

    num_epochs: int = 4
    num_minibatches: int = 16
    lambda_: float = 0.65

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_epochs", "num_minibatches"), lambda_=(0, 1))
        if self.num_envs * self.num_steps % self.num_minibatches:
            raise ValueError(
                "num_minibatches: expected a divisor of num_envs · num_steps = "
                f"{self.num_envs * self.num_steps}, got {self.num_minibatches}"
            )

    @property
    def num_gradients(self) -> int:
        """Gradient steps of a whole training run."""
        return self.num_updates * self.num_epochs * self.num_minibatches


@dataclass(frozen=True)
class DQNConfig(QConfig):
    """Settings of `dqn`.

    Attributes:
        num_gradient_steps: of an update, each on `batch_size` of the `capacity` steps that are remembered.
        n_step: steps whose rewards count before what their end is thought to be worth.
        slow_rate: share of what is learnt in its slow copy, per gradient step.
    """

    num_gradient_steps: int = 32
    n_step: int = 3
    batch_size: int = 256
    capacity: int = 262_144
    slow_rate: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_gradient_steps", "n_step", "batch_size", "capacity"), slow_rate=(0, 1))
        check_range("capacity", self.capacity, self.num_envs * max(self.n_step + 1, self.num_steps))

    @property
    def num_gradients(self) -> int:
        """Gradient steps of a whole training run."""
        return self.num_updates * self.num_gradient_steps


@dataclass(frozen=True)
class CloneConfig:
    """Settings of cloning; of PPO, which may go on with a clone, its own hold.

    Attributes:
        num_levels, rounds: levels that protagonists play, and how often.
        slips: share of the ticks in which they act at random.
        clone_steps, batch_size: gradient steps, each on so many of the moments recorded.
    """

    num_levels: int = 600
    rounds: int = 4
    slips: float = 0.2
    clone_steps: int = 2000
    batch_size: int = 512
    hold_share: float = 0.5
    max_gradient_norm: float = 0.5
    hidden_sizes: tuple[int, ...] = (128, 128)
    steps_per_chunk: int = 100

    def __post_init__(self):
        check_fields(
            self, ("num_levels", "rounds", "clone_steps", "batch_size", "steps_per_chunk"),
            slips=(0, 1), hold_share=(0, 1), max_gradient_norm=(1e-9, math.inf),
        )  # fmt: skip
        check_positive_ints("hidden_sizes", self.hidden_sizes)

    @property
    def num_updates(self) -> int:
        """Gradient steps of cloning."""
        return self.clone_steps

    @property
    def chunk(self) -> int:
        """Gradient steps between two looks of the host."""
        return largest_divisor(self.clone_steps, self.steps_per_chunk)


def check_stretches(config: PPOConfig) -> None:
    """Raise ValueError unless stretches, one of every environment, can be parted into minibatches."""
    if config.num_envs % config.num_minibatches:
        raise ValueError(
            f"num_minibatches: expected a divisor of num_envs = {config.num_envs}, got {config.num_minibatches}"
        )
