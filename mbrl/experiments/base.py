"""What an experiment is: a question, conditions, seeds and settings, in one small declarative file each.

Nothing here imports JAX, so that a command line can read, check and list experiments at once.
"""

from dataclasses import dataclass

from mbrl.evaluation import MIN_LEVELS, MIN_SEEDS

REGIMES = ("production", "witness", "workshop", "withheld", "open")
SHIFTS = ("shutdown",)
REFERENCES = ("random", "habit", "oracle")
LEARNERS = ("ppo", "local+exact")
AGENTS = REFERENCES + LEARNERS


@dataclass(frozen=True)
class Condition:
    """An agent and the regimes it is trained on; none for agents that learn nothing."""

    agent: str
    regimes: tuple[str | None, ...] = (None,)


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        question: what it asks, in a sentence.
        shift: deployment shift.
        conditions: who takes part.
        num_seeds, first_seed: training runs; each has its own levels, experience and initialisation.
        num_levels, deployment_seed: deployment levels per twin, shared by all seeds and agents.
        num_held_out: held-out training levels per regime, for competence in distribution.
        num_training_levels: levels a seed trains on.
        model_steps, ppo_steps: gradient steps of a world model; environment steps of PPO.
    """

    name: str
    question: str
    shift: str
    conditions: tuple[Condition, ...]
    num_seeds: int
    first_seed: int
    num_levels: int
    deployment_seed: int
    num_held_out: int = 96
    num_training_levels: int = 600
    model_steps: int = 1000
    ppo_steps: int = 2**18

    @property
    def seeds(self) -> range:
        """The training seeds."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def regimes(self) -> tuple[str, ...]:
        """All regimes somebody trains on, in the order of `REGIMES`."""
        used = {regime for condition in self.conditions for regime in condition.regimes}
        return tuple(regime for regime in REGIMES if regime in used)

    @property
    def is_quick(self) -> bool:
        """Whether there are too few seeds or levels for a headline."""
        return self.num_seeds < MIN_SEEDS or self.num_levels < MIN_LEVELS
