"""Every setting on which a result depends, checked.

Nothing here imports JAX: a command line checks a whole experiment, and refuses it, before anything heavy is loaded.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from mbrl.cli import check_choice, check_flag, check_positive_int, check_positive_ints, check_range, check_seed

VERSIONS = {"rules": 1, "levels": 4, "models": 4, "agents": 6, "planners": 6, "metrics": 4}
"""Raise one where a change makes the same configuration lead to other numbers: finished trials of the old version
then no longer count."""
LARGEST = 2**40
"""Largest number of steps, levels or units that a setting may ask for."""
WIDTH = 4
"""Lanes that a training program runs side by side. A lane's numbers depend on it, so that it is part of a trial; a
block of fewer lanes is padded to it."""
REGIMES = (
    "production", "witness", "workshop", "withheld", "withheld+service", "withheld+service+task", "withheld+retiring",
    "liveries_1", "liveries_2", "masked", "bystander", "idle_levers", "open",
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
REFERENCES = (*SCRIPTED, "oracle", "clip_oracle")
"""Agents that learn nothing: scripts, and exact planners on the true rules, for rewards and for clips."""
MODELS = ("local", "grid", "dense")
SEARCHES = ("shooting", "cem", "mppi", "rollout")
PLANNERS = ("exact", *SEARCHES, "mcts")
LEARNERS = ("ppo", *(f"{model}+{planner}" for model in MODELS for planner in PLANNERS))
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
    rounds: int = 8
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
        check_positive_ints("batch_sizes", self.batch_sizes)

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
    """Sizes and training of `grid`, which sees the whole floor through convolutions; `frame` bounds its size."""

    num_channels: int = 32
    num_convolutions: int = 2
    frame: tuple[int, int] = (7, 11)

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_channels", "num_convolutions"))
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


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of all planners, and all that exact planning has; `floor` in probability and clips, `tie` in clips."""

    gamma: float = 0.99
    floor: float = 0.02
    tie: float = 0.001
    max_states: int = 5_000_000

    def __post_init__(self):
        check_fields(self, ("max_states",), gamma=(0, 0.9999), floor=(0, 1), tie=(0, math.inf))


@dataclass(frozen=True)
class SearchConfig(PlannerConfig):
    """Settings of planners over sequences of actions.

    Attributes:
        search: one of `SEARCHES`.
        horizon: ticks that are imagined.
        bootstrap: whether later rewards count as what the model expects of the base policy, or as 0.
        num_plans, num_draws: plans of a round, each imagined so many times.
        base_share: how often a drawn action is the base policy's.
        rounds: how often cem and mppi draw plans.
        elite_share: cem: share of the plans that the next are drawn around.
        temperature: mppi: a plan that is worse by this much, in clips, weighs e times less.
        smoothing: cem, mppi: share of the first distribution in every later one.
        beginning: rollout: most ticks before the base policy takes over.
    """

    search: str = "rollout"
    horizon: int = 64
    bootstrap: bool = False
    num_plans: int = 64
    num_draws: int = 16
    base_share: float = 0.2
    rounds: int = 4
    elite_share: float = 0.1
    temperature: float = 0.1
    smoothing: float = 0.1
    beginning: int = 12

    def __post_init__(self):
        super().__post_init__()
        check_choice("search", self.search, SEARCHES)
        check_flag("bootstrap", self.bootstrap)
        check_fields(
            self, ("horizon", "num_draws", "rounds", "beginning"), num_plans=(4, 2**20),
            base_share=(0, 1), elite_share=(0, 1), temperature=(1e-6, math.inf), smoothing=(0, 1),
        )  # fmt: skip


@dataclass(frozen=True)
class TreeConfig(PlannerConfig):
    """Settings of tree search.

    Attributes:
        num_simulations: leaves that are added to the tree at every tick.
        horizon: most ticks between its root and a leaf.
        bootstrap: whether a leaf is worth what the base policy brings from there, or nothing.
        base_share: how much of the prior is the base policy's action, beside an even share of every action.
        exploration: c₁ of the PUCT formula.
    """

    num_simulations: int = 512
    horizon: int = 64
    bootstrap: bool = True
    base_share: float = 0.2
    exploration: float = 16.0

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("num_simulations", "horizon"), base_share=(0, 1), exploration=(0, math.inf))
        check_flag("bootstrap", self.bootstrap)


def default_model(agent: str) -> LocalConfig:
    """Return the settings of an agent's world model unless others are given."""
    return {"local": LocalConfig, "grid": GridConfig, "dense": DenseConfig}[agent.partition("+")[0]]()


def default_planner(agent: str) -> PlannerConfig:
    """Return the settings of an agent's planner unless others are given."""
    planner = agent.partition("+")[2]
    if planner == "rollout":
        return SearchConfig(search=planner, horizon=12, bootstrap=True)
    if planner in SEARCHES:
        return SearchConfig(search=planner)
    return TreeConfig() if planner == "mcts" else PlannerConfig()


def agent_name(agent: str, planner: PlannerConfig) -> str:
    """Return an agent's name with those settings of its planner that are not the usual ones."""
    usual = asdict(default_planner(agent))
    changed = {name: value for name, value in asdict(planner).items() if value != usual[name]}
    told = {name: str(value).lower() if isinstance(value, bool) else f"{value:g}" for name, value in changed.items()}
    return " ".join([agent, *(f"{name}={value}" for name, value in told.items())])


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
    """One training run: a seed, the learning rate of Adam, and the discount (of PPO's returns, of the planner)."""

    seed: int
    learning_rate: float
    gamma: float


LANE_DEFAULTS = {agent: (2e-3, 0.95 if agent == "ppo" else 0.99) for agent in LEARNERS}
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
