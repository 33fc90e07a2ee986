"""Agents on any gymnax environment: their names and settings; imports no JAX, like `mbrl.configs`."""

from dataclasses import dataclass

from mbrl.cli import check_positive_ints
from mbrl.configs import (
    PLANNERS,
    SEARCHES,
    PlannerConfig,
    PPOConfig,
    SearchConfig,
    TreeConfig,
    check_fields,
    largest_divisor,
)

CONTROLLERS = ("ppo", *(f"{model}+{planner}" for model in ("true", "dense") for planner in PLANNERS))
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


Controller = PPOConfig | ObservedConfig | EnumeratedConfig
"""How an agent learns."""


def default_controller(agent: str) -> tuple[Controller, PlannerConfig]:
    """Return how an agent on a gymnax environment learns, and how it plans, unless it is told otherwise."""
    model, _, planner = agent.partition("+")
    plans: PlannerConfig = PlannerConfig()
    if planner in SEARCHES:
        plans = SearchConfig(search=planner, horizon=4, bootstrap=True, num_plans=256, num_draws=64)
    elif planner == "mcts":
        plans = TreeConfig(horizon=8, num_simulations=128)
    if model == "ppo":
        return PPOConfig(
            num_envs=32, num_steps=128, num_epochs=4, num_minibatches=8, episode_steps=1, hold_share=0.0,
            gae_lambda=0.95, entropy_coefficient=0.001, return_scale=1.0, hidden_sizes=(64, 64),
        ), plans  # fmt: skip
    return (EnumeratedConfig() if model == "true" else ObservedConfig()), plans
