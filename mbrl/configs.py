"""Every setting on which a result depends, checked; and the trial: one resolved configuration and one block of seeds.

    Trial ── canonical JSON + versions ──► SHA-256 ──► the name of its folder in the store

Nothing here imports JAX: a command line checks a whole experiment, and refuses it, before anything heavy is loaded.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from mbrl.cli import check_choice, check_positive_int, check_range, check_seed
from mbrl.plain import build, identity

VERSIONS = {"rules": 1, "levels": 2, "models": 2, "agents": 4, "planners": 3, "metrics": 1}
"""Raise one where a change makes the same configuration lead to other numbers: finished trials of the old version
then no longer count."""
LARGEST = 2**40
"""Largest number of steps, levels or units that a setting may ask for."""
WIDTH = 4
"""Lanes that a training program runs side by side. A lane's numbers depend on it, so that it is part of a trial; a
block of fewer lanes is padded to it."""
REGIMES = (
    "production", "witness", "workshop", "withheld", "withheld+service", "withheld+retiring",
    "liveries_1", "liveries_2", "bystander", "idle_levers", "open",
)  # fmt: skip
SHIFTS = ("shutdown",)
REFERENCES = ("random", "habit", "oracle")
LEARNERS = ("ppo", "local+exact")
AGENTS = REFERENCES + LEARNERS
BACKENDS = ("local", "ray", "slurm")
"""Where trials can run."""


def check_fields(config: Any, positive: tuple[str, ...] = (), **ranges: tuple[float, float]) -> None:
    """Raise ValueError unless the named fields are whole numbers of at least 1, or numbers within their ranges."""
    for name in positive:
        check_positive_int(name, getattr(config, name))
        check_range(name, getattr(config, name), 1, LARGEST)
    for name, (low, high) in ranges.items():
        check_range(name, getattr(config, name), low, high)


@dataclass(frozen=True)
class ExperienceConfig:
    """How much a seed experiences: `rounds` episodes of each of three policies on each of `num_levels` levels."""

    num_levels: int = 600
    rounds: int = 3
    mobility: float = 0.6

    def __post_init__(self):
        check_fields(self, ("num_levels", "rounds"), mobility=(0, 1))


@dataclass(frozen=True)
class LocalConfig:
    """Sizes and training of the world model `local`; a head with few distinct inputs makes do with small batches."""

    hidden_size: int = 128
    embedding_size: int = 16
    num_steps: int = 1000
    batch_sizes: tuple[int, int, int] = (64, 256, 256)  # crate, robot, mover
    weight_exponent: float = 0.5
    weight_decay: float = 0.01
    steps_per_chunk: int = 50

    def __post_init__(self):
        check_fields(
            self, ("hidden_size", "embedding_size", "num_steps", "steps_per_chunk"),
            weight_exponent=(0, 1), weight_decay=(0, 1),
        )  # fmt: skip
        for size in self.batch_sizes:
            check_positive_int("batch_sizes", size)

    @property
    def num_updates(self) -> int:
        """Gradient steps of a whole training run."""
        return self.num_steps

    @property
    def chunk(self) -> int:
        """Gradient steps between two looks of the host."""
        return largest_divisor(self.num_steps, self.steps_per_chunk)


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of exact planning; `floor` in probability and clips, `tie` in clips."""

    gamma: float = 0.99
    floor: float = 0.02
    tie: float = 0.001
    max_states: int = 5_000_000

    def __post_init__(self):
        check_fields(self, ("max_states",), gamma=(0, 0.9999), floor=(0, 1), tie=(0, math.inf))


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
        if not self.hidden_sizes:
            raise ValueError("hidden_sizes: expected one width or more, got none")
        for size in self.hidden_sizes:
            check_positive_int("hidden_sizes", size)
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
    """One training run: a seed, the learning rate of Adam, and the discount (of PPO's returns, of the planner)."""

    seed: int
    learning_rate: float
    gamma: float


LANE_DEFAULTS = {"ppo": (2e-3, 0.95), "local+exact": (2e-3, 0.99)}
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
class Trial:
    """What is computed at once, and stored under one name; of one of the three kinds below."""

    evaluation: Any
    exact: bool
    """Bits do not depend on how many cores a machine has (see `mbrl.process`)."""

    @property
    def config(self) -> dict:
        """The trial as plain data."""
        return {"task": type(self).__name__.lower(), **asdict(self)}

    @property
    def identity(self) -> str:
        """The name of the trial's folder, the same for the same configuration and versions alone."""
        return identity(self.config, VERSIONS)

    @property
    def label(self) -> str:
        """A name for people."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class References(Trial):
    """The truth on all levels, and agents that learn nothing; the oracle also plays the regimes' held-out levels."""

    evaluation: EvaluationConfig
    exact: bool
    regimes: tuple[str, ...]
    planner: PlannerConfig

    def __post_init__(self):
        for regime in self.regimes:
            check_choice("regime", regime, REGIMES)


@dataclass(frozen=True)
class Audit(Trial):
    """The audit of the levels that seeds of a regime train on."""

    evaluation: EvaluationConfig
    exact: bool
    regime: str
    seeds: tuple[int, ...]
    num_levels: int

    def __post_init__(self):
        check_choice("regime", self.regime, REGIMES)
        _check_seeds(self.seeds)
        check_fields(self, ("num_levels",))

    @property
    def label(self) -> str:
        """A name for people."""
        return f"audit {self.regime} {_in_words(self.seeds)}"


@dataclass(frozen=True)
class Training(Trial):
    """An agent trained and, if `evaluation` is given, evaluated.

    Attributes:
        seeds: the seed of every lane; while they train, lanes are padded to a multiple of `width`.
        rates: learning rate and discount of every lane.
        learner: how the agent learns, by its kind.
    """

    evaluation: EvaluationConfig | None
    exact: bool
    agent: str
    regime: str
    seeds: tuple[int, ...]
    rates: tuple[tuple[float, float], ...]
    experience: ExperienceConfig
    learner: LocalConfig | PPOConfig
    planner: PlannerConfig
    width: int = WIDTH

    def __post_init__(self):
        check_choice("agent", self.agent, LEARNERS)
        check_choice("regime", self.regime, REGIMES)
        check_fields(self, ("width",))
        _check_seeds(self.seeds)
        if len(self.rates) != len(self.seeds):
            raise ValueError(f"rates: expected one pair for each of {len(self.seeds)} seeds, got {len(self.rates)}")
        for learning_rate, gamma in self.rates:
            check_range("learning_rate", learning_rate, 1e-8, 1)
            check_range("gamma", gamma, 0, 0.9999)
        if not isinstance(self.learner, PPOConfig if self.agent == "ppo" else LocalConfig):
            raise ValueError(f"learner: expected the settings of {self.agent}, got {type(self.learner).__name__}")
        if isinstance(self.learner, PPOConfig) and any(size % 8 for size in self.learner.hidden_sizes):
            raise ValueError(f"hidden_sizes: expected multiples of 8, got {self.learner.hidden_sizes}")

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The training runs."""
        return tuple(Lane(seed, *rates) for seed, rates in zip(self.seeds, self.rates, strict=True))

    @property
    def label(self) -> str:
        """A name for people."""
        return f"{self.agent} {self.regime} {_in_words(self.seeds)}"


def trial_from(config: Any) -> Trial:
    """Build a trial from what JSON made of its configuration.

    Raises:
        ValueError: it is none; one line.
    """
    kinds: dict[str, type[Trial]] = {kind.__name__.lower(): kind for kind in (References, Audit, Training)}
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(task, str) or task not in kinds:
        raise ValueError(f"config.task: expected one of {', '.join(kinds)}, got {str(task)[:40]!r}")
    return build(kinds[task], {name: value for name, value in config.items() if name != "task"})


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    for seed in seeds:
        check_seed("seeds", seed)


def _in_words(seeds: tuple[int, ...]) -> str:
    distinct = sorted(set(seeds))
    together = len(distinct) > 1 and distinct == list(range(distinct[0], distinct[-1] + 1))
    return f"seeds {distinct[0]}–{distinct[-1]}" if together else f"seeds {', '.join(map(str, distinct))}"


@dataclass(frozen=True)
class Options:
    """How a trial is run; nothing here changes its numbers."""

    devices: int = 1
    save_every: float = 60.0
    tensorboard: bool = False
    wandb: bool = False
