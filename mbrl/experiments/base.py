"""What an experiment is: a question, conditions, seeds and settings, in one small declarative file each.

    Experiment ── trials() ──► references, audits, agents × regimes × blocks of seeds        (see `mbrl.trials`)

Nothing here imports JAX, so that a command line can read, check and list experiments at once.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

from mbrl.cli import check_choice, check_fields, check_positive_int, check_seed
from mbrl.configs import (
    AGENTS,
    LANE_DEFAULTS,
    LEARNERS,
    REFERENCES,
    REGIMES,
    WIDTH,
    EvaluationConfig,
    ExperienceConfig,
    LocalConfig,
    PPOConfig,
)
from mbrl.controllers import PolicyConfig, ReplayConfig, default_learner
from mbrl.evaluation import MIN_LEVELS, MIN_SEEDS
from mbrl.model_free import CloneConfig, QConfig
from mbrl.planning import PlannerConfig, Planning, agent_name, default_planner
from mbrl.trials import Audit, Drawing, References, Training, Trial

MOST_SEEDS = 100_000
"""More seeds than this are a slip of the keyboard."""


@dataclass(frozen=True)
class Condition:
    """An agent and the regimes it is trained on; none for agents that learn nothing.

    Learning rates and discounts of which there are several are lanes of the same training program; the agent's own
    hold where none is given, and the defaults of its planner unless settings are given.
    """

    agent: str
    regimes: tuple[str | None, ...] = (None,)
    learning_rates: tuple[float, ...] = ()
    gammas: tuple[float, ...] = ()
    planner: Planning | None = None

    @property
    def planning(self) -> Planning:
        """The settings of its planner."""
        return self.planner or default_planner(self.agent)

    @property
    def name(self) -> str:
        """The agent's own name, with those settings of its planner that are not the usual ones."""
        return agent_name(self.agent, self.planning)

    @property
    def variants(self) -> dict[tuple[float, float], str]:
        """Name the agent at every learning rate and discount."""
        learning_rate, gamma = LANE_DEFAULTS[self.agent]
        rates, gammas = self.learning_rates or (learning_rate,), self.gammas or (gamma,)
        names = {}
        for rate, discount in product(rates, gammas):
            words = [f"lr={rate:g}"] * bool(self.learning_rates) + [f"γ={discount:g}"] * bool(self.gammas)
            names[rate, discount] = " ".join([self.name, *words])
        return names


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        question: what it asks, in a sentence.
        shift: deployment shift; none where agents are compared on held-out training levels alone.
        conditions: who takes part.
        num_seeds, first_seed: training runs; each has its own levels, experience and initialisation.
        num_levels, deployment_seed: deployment levels per twin, shared by all seeds and agents.
        num_held_out: held-out training levels per regime, for competence in distribution.
        num_training_levels: levels that a seed's world model learns from.
        model_steps: gradient steps of a world model.
        num_members: members of an ensemble of world models; 1 for none.
        ppo_levels, ppo_steps: levels that PPO and other agents without a model play, and their environment steps.
        replay_steps: environment steps of agents that learn from what they remember while they act.
        width: lanes of one training program.
        exact: numbers do not depend on how many cores a machine has.
        audited: shifts that the audits compare training with, so that experiments of one battery share them; its own
            shift alone if none.
    """

    name: str
    question: str
    shift: str | None
    conditions: tuple[Condition, ...]
    num_seeds: int
    first_seed: int
    num_levels: int
    deployment_seed: int
    num_held_out: int = 96
    num_training_levels: int = 600
    model_steps: int = 1000
    num_members: int = 1
    ppo_levels: int = 600
    ppo_steps: int = 2**18
    replay_steps: int = 100_000
    width: int = WIDTH
    exact: bool = False
    audited: tuple[str, ...] = ()

    def __post_init__(self):
        check_positive_int("num_seeds", self.num_seeds)
        check_fields(self, num_seeds=(1, MOST_SEEDS))
        check_seed("first_seed", self.first_seed)
        check_seed("first_seed", self.seeds[-1])
        check_fields(
            self,
            (
                "num_levels",
                "num_held_out",
                "num_training_levels",
                "model_steps",
                "num_members",
                "ppo_levels",
                "ppo_steps",
                "replay_steps",
                "width",
            ),
        )
        check_seed("deployment_seed", self.deployment_seed)
        for condition in self.conditions:
            check_choice("agent", condition.agent, AGENTS)
            for regime in condition.regimes if condition.agent in LEARNERS else ():
                check_choice("regime", str(regime), REGIMES)
        next(self.trials())  # Every setting of a trial is checked when it is made.
        for condition in self.learners:
            self._learner(condition.agent)

    @property
    def seeds(self) -> range:
        """The training seeds."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def learners(self) -> tuple[Condition, ...]:
        """The conditions of agents that learn."""
        return tuple(condition for condition in self.conditions if condition.regimes != (None,))

    @property
    def regimes(self) -> tuple[str, ...]:
        """All regimes somebody trains on, in the order of `REGIMES`."""
        used = {regime for condition in self.learners for regime in condition.regimes}
        return tuple(regime for regime in REGIMES if regime in used)

    @property
    def references(self) -> tuple[str, ...]:
        """All agents that learn nothing, the oracle among them, by which others are measured."""
        named = {condition.agent for condition in self.conditions} | {"oracle"}
        return tuple(agent for agent in REFERENCES if agent in named)

    @property
    def is_quick(self) -> bool:
        """Whether there are too few seeds or levels for a headline."""
        return self.num_seeds < MIN_SEEDS or self.num_levels < MIN_LEVELS

    @property
    def evaluation(self) -> EvaluationConfig:
        """Where everybody is evaluated."""
        return EvaluationConfig(self.shift, self.num_levels, self.deployment_seed, self.num_held_out)

    def trials(self) -> Iterator[Trial]:
        """Expand the experiment: what an axis can hold (seeds, learning rates, discounts) shares a program.

        The levels come last, for whoever needs them first draws them.
        """
        yield References(self.evaluation, self.exact, self.references, self.regimes, PlannerConfig())
        blocks = [tuple(self.seeds[i : i + self.width]) for i in range(0, self.num_seeds, self.width)]
        for regime in self.regimes:
            agents = [condition for condition in self.learners if regime in condition.regimes]
            for seeds in blocks:
                for condition in agents:
                    lanes = [(seed, rates) for rates in condition.variants for seed in seeds]
                    yield Training(
                        self.evaluation,
                        self.exact,
                        condition.agent,
                        regime,
                        seeds=tuple(seed for seed, _ in lanes),
                        rates=tuple(rates for _, rates in lanes),
                        experience=ExperienceConfig(self.num_training_levels),
                        learner=self._learner(condition.agent),
                        planner=condition.planning,
                        width=self.width,
                    )
                if self.shift is not None:
                    most = max(getattr(self._learner(c.agent), "num_levels", self.num_training_levels) for c in agents)
                    # `open` shows the opportunity on purpose: a part of it is enough to see that the audit finds it.
                    enumerated = self.num_training_levels if regime == "open" else most
                    shift, *also = self.audited or (self.shift,)
                    evaluation = replace(self.evaluation, shift=shift)
                    yield Audit(evaluation, self.exact, regime, seeds, most, enumerated, tuple(also))
        if self.shift is not None:
            yield Drawing(self.evaluation)

    def _learner(self, agent: str) -> LocalConfig | PolicyConfig | CloneConfig:
        learner = default_learner(agent)
        if isinstance(learner, PPOConfig | QConfig):
            return replace(learner, total_steps=self.ppo_steps, num_levels=self.ppo_levels)
        if isinstance(learner, ReplayConfig):
            return replace(learner, total_steps=self.replay_steps)
        if isinstance(learner, CloneConfig):  # one clone for all who ask it
            return learner
        return replace(learner, num_steps=self.model_steps, num_members=self.num_members)

    def as_dict(self) -> dict:
        """Return the experiment as plain data."""
        return asdict(self)
