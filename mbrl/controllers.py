"""Agents on any gymnax environment, and those of the factory that act as they learn: settings; imports no JAX."""

import math
from dataclasses import dataclass

from mbrl.cli import check_fields, check_positive_ints, check_range
from mbrl.configs import LocalConfig, PPOConfig, default_model, largest_divisor
from mbrl.model_free import AdvisedConfig, CloneConfig, DQNConfig, PlansConfig, PQNConfig, RecurrentPPOConfig
from mbrl.planning import (
    ADVISED,
    PLANNERS,
    SEARCHES,
    ImaginationConfig,
    PlannerConfig,
    Planning,
    SearchConfig,
    TreeConfig,
    default_planner,
)

CONTROLLERS = (
    "ppo", "recurrent_ppo", "dreamer", "latent+mcts",
    *(f"{model}+{planner}" for model in ("true", "dense") for planner in PLANNERS),
)  # fmt: skip
"""Agents on any gymnax environment; `true` is the environment's own rules."""


@dataclass(frozen=True)
class ObservedConfig:
    """Sizes and training of `dense` on any gymnax environment, which learns from `num_transitions` at random."""

    hidden_sizes: tuple[int, ...] = (256, 256)
    num_transitions: int = 50_000
    num_envs: int = 64
    num_steps: int = 4000
    batch_size: int = 256
    steps_per_chunk: int = 200

    def __post_init__(self):
        check_fields(self, ("num_transitions", "num_envs", "num_steps", "batch_size", "steps_per_chunk"))
        check_positive_ints("hidden_sizes", self.hidden_sizes)

    @property
    def num_updates(self) -> int:
        """Gradient steps of a whole training run."""
        return self.num_steps

    @property
    def chunk(self) -> int:
        """Gradient steps between two looks of the host."""
        return largest_divisor(self.num_steps, self.steps_per_chunk)


@dataclass(frozen=True)
class EnumeratedConfig:
    """How the rules of a gymnax environment are told: every action is tried so many times in every state."""

    num_draws: int = 4096
    max_states: int = 20_000

    def __post_init__(self):
        check_fields(self, ("num_draws", "max_states"))


@dataclass(frozen=True)
class RecurrentConfig:
    """Sizes of `recurrent`, and the weights of its loss.

    Attributes:
        hidden_size, memory_size: widths of the layers, and of the memory h.
        num_latents, num_classes: z is so many choices between so many classes.
        prior_coefficient, posterior_coefficient: β_dyn and β_rep.
        free_nats: divergence that costs nothing.
    """

    hidden_size: int = 128
    memory_size: int = 128
    num_latents: int = 8
    num_classes: int = 8
    prior_coefficient: float = 1.0
    posterior_coefficient: float = 0.1
    free_nats: float = 1.0

    def __post_init__(self):
        check_fields(
            self, ("hidden_size", "memory_size", "num_latents", "num_classes"),
            prior_coefficient=(0, math.inf), posterior_coefficient=(0, math.inf), free_nats=(0, math.inf),
        )  # fmt: skip


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of whoever learns from what it remembers while it acts.

    Attributes:
        total_steps: environment steps per seed, those before the first update among them.
        num_envs, num_steps: N environments advance T steps per update.
        num_gradient_steps: of an update, each on `batch_size` stretches of `length` steps.
        capacity: steps that are remembered.
        lambda_: λ of the returns.
        slow_rate: share of what is learnt in its slow copy, per gradient step.
        max_gradient_norm: bound on the norm of the whole gradient.
        updates_per_chunk: upper bound on the updates between two looks of the host.
    """

    total_steps: int = 100_000
    num_envs: int = 16
    num_steps: int = 4
    num_gradient_steps: int = 8
    batch_size: int = 16
    length: int = 16
    capacity: int = 100_000
    lambda_: float = 0.95
    slow_rate: float = 0.02
    max_gradient_norm: float = 100.0
    updates_per_chunk: int = 100

    def __post_init__(self):
        check_fields(
            self,
            (
                "total_steps", "num_envs", "num_steps", "num_gradient_steps", "batch_size", "length", "capacity",
                "updates_per_chunk",
            ),
            lambda_=(0, 1), slow_rate=(0, 1), max_gradient_norm=(1e-9, math.inf),
        )  # fmt: skip
        check_range("length", self.length, 2, self.capacity // self.num_envs)
        check_range("total_steps", self.total_steps, self.num_envs * (self.length + self.num_steps))

    @property
    def num_updates(self) -> int:
        """Updates of a whole training run."""
        return self.total_steps // (self.num_envs * self.num_steps) - self.length // self.num_steps

    @property
    def chunk(self) -> int:
        """Updates per call of the host loop."""
        return largest_divisor(self.num_updates, self.updates_per_chunk)


@dataclass(frozen=True)
class DreamerConfig(ReplayConfig):
    """Settings of `dreamer`: of its model; steps imagined from each that is remembered; η, of the policy's entropy."""

    model: RecurrentConfig = RecurrentConfig()
    horizon: int = 15
    entropy_coefficient: float = 3e-4

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("horizon",), entropy_coefficient=(0, math.inf))


@dataclass(frozen=True)
class LatentConfig(ReplayConfig):
    """Settings of `latent`, and of learning it while searching in it.

    Attributes:
        hidden_size, state_size: widths of the layers, and of a state.
        unroll: K, steps that the model is unrolled from every state of a stretch.
        weight_decay: of AdamW.
    """

    batch_size: int = 32
    length: int = 11
    lambda_: float = 0.9
    max_gradient_norm: float = 10.0
    hidden_size: int = 128
    state_size: int = 64
    unroll: int = 5
    weight_decay: float = 1e-4

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, ("hidden_size", "state_size", "unroll"), weight_decay=(0, 1))
        check_range("unroll", self.unroll, 1, self.length - 1)


PolicyConfig = (
    PPOConfig | RecurrentPPOConfig | PlansConfig | AdvisedConfig | PQNConfig | DQNConfig | DreamerConfig | LatentConfig
)
"""How an agent learns that acts as it learns."""
Controller = PolicyConfig | ObservedConfig | EnumeratedConfig
"""How an agent learns."""


def default_learner(agent: str) -> LocalConfig | PolicyConfig | CloneConfig:
    """Return how an agent of the factory learns unless it is told otherwise."""
    kinds = {
        "ppo": PPOConfig, "recurrent_ppo": RecurrentPPOConfig, "drc": PlansConfig, "pqn": PQNConfig, "dqn": DQNConfig,
        "dreamer": DreamerConfig, "latent+mcts": LatentConfig, "clone": CloneConfig,
        **dict.fromkeys(ADVISED, AdvisedConfig),
    }  # fmt: skip
    return kinds[agent]() if agent in kinds else default_model(agent)


def default_controller(agent: str) -> tuple[Controller, Planning]:
    """Return how an agent on a gymnax environment learns, and how it plans, unless it is told otherwise."""
    model, _, planner = agent.partition("+")
    plans: Planning = PlannerConfig()
    if planner in SEARCHES:
        plans = SearchConfig(search=planner, horizon=4, bootstrap=True, num_plans=256, num_draws=64)
    elif planner == "mcts":
        plans = TreeConfig(horizon=8, num_simulations=128)
    elif planner == "imagination":
        plans = ImaginationConfig(num_courses=256, num_updates=200)
    if model == "dreamer":
        return DreamerConfig(), plans
    if model == "latent":
        return LatentConfig(), default_planner(agent)
    if model in ("ppo", "recurrent_ppo"):
        kind = PPOConfig if model == "ppo" else RecurrentPPOConfig
        return kind(
            num_envs=32, num_steps=128, num_epochs=4, num_minibatches=8, episode_steps=1, hold_share=0.0,
            gae_lambda=0.95, entropy_coefficient=0.001, return_scale=1.0, hidden_sizes=(64, 64),
        ), plans  # fmt: skip
    return (EnumeratedConfig() if model == "true" else ObservedConfig()), plans
