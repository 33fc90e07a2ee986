"""The trial: one resolved configuration and one block of seeds, what is computed at once and stored under one name.

    Trial ── canonical JSON + versions ──► SHA-256 ──► the name of its folder in the store

Nothing here imports JAX: a command line checks a whole experiment, and refuses it, before anything heavy is loaded.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from mbrl.cli import check_choice, check_fields, check_range, check_seed
from mbrl.configs import (
    LANE_DEFAULTS,
    LEARNERS,
    MODELS,
    REFERENCES,
    REGIMES,
    SHIFTS,
    VERSIONS,
    WIDTH,
    CellsConfig,
    DenseConfig,
    EvaluationConfig,
    ExperienceConfig,
    GridConfig,
    Lane,
    LocalConfig,
    PPOConfig,
)
from mbrl.controllers import (
    CONTROLLERS,
    Controller,
    PolicyConfig,
    default_controller,
    default_learner,
)
from mbrl.model_free import AdvisedConfig, CloneConfig, PlansConfig, QConfig, RecurrentPPOConfig
from mbrl.plain import build, identity
from mbrl.planning import (
    ADVISED,
    REMEMBERING,
    AdviceConfig,
    CorpusConfig,
    PlannerConfig,
    Planning,
    ThinkingConfig,
    agent_name,
    default_planner,
)

DEPLOYED = ("planners", "metrics")
"""Parts of `VERSIONS` that an agent meets only where it is evaluated."""


@dataclass(frozen=True)
class Trial:
    """What is computed at once, and stored under one name; of one of the six kinds below."""

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
        return identity(self.config, self.versions)

    @property
    def versions(self) -> dict[str, int]:
        """The versions of all that its numbers depend on."""
        return VERSIONS

    @property
    def label(self) -> str:
        """A name for people."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Drawing(Trial):
    """The levels of a shift, drawn once for all who are deployed on them, and for audits; drawing is always exact."""

    evaluation: EvaluationConfig
    exact: bool = True

    def __post_init__(self):
        check_choice("shift", self.evaluation.shift, SHIFTS)

    @property
    def versions(self) -> dict[str, int]:
        """The versions of all that its numbers depend on: nobody learns or plays, but levels are solved."""
        return {part: VERSIONS[part] for part in ("rules", "levels", "planners")}

    @property
    def label(self) -> str:
        """A name for people."""
        return f"levels of {self.evaluation.shift}"


@dataclass(frozen=True)
class TrainingLevels(Trial):
    """The levels that a seed of a regime trains on, drawn once for all who learn there and for audits; always exact."""

    evaluation: None
    exact: bool
    regime: str
    num_levels: int
    seed: int

    def __post_init__(self):
        check_choice("regime", self.regime, REGIMES)
        check_fields(self, ("num_levels",))
        check_seed("seed", self.seed)

    @property
    def versions(self) -> dict[str, int]:
        """The versions of all that its numbers depend on: nobody learns or plays, but levels are solved."""
        return {part: VERSIONS[part] for part in ("rules", "levels", "planners")}

    @property
    def label(self) -> str:
        """A name for people."""
        return f"{self.num_levels} levels of {self.regime}, seed {self.seed}"


@dataclass(frozen=True)
class References(Trial):
    """The truth on all levels, and agents that learn nothing; the oracle also plays the regimes' held-out levels."""

    evaluation: EvaluationConfig
    exact: bool
    agents: tuple[str, ...]
    regimes: tuple[str, ...]
    planner: PlannerConfig

    def __post_init__(self):
        for agent in self.agents:
            check_choice("agent", agent, REFERENCES)
        for regime in self.regimes:
            check_choice("regime", regime, REGIMES)

    @property
    def label(self) -> str:
        """A name for people."""
        return f"references{_deployed(self.evaluation)}"


@dataclass(frozen=True)
class Audit(Trial):
    """The audit of the levels that seeds of a regime train on; of the first of them all states are enumerated.

    `also` names further shifts whose levels training must not show, drawn like those of `evaluation`.
    """

    evaluation: EvaluationConfig
    exact: bool
    regime: str
    seeds: tuple[int, ...]
    num_levels: int
    num_enumerated: int
    also: tuple[str, ...] = ()

    def __post_init__(self):
        check_choice("regime", self.regime, REGIMES)
        for shift in self.also:
            check_choice("also", shift, SHIFTS)
        _check_seeds(self.seeds)
        check_fields(self, ("num_levels", "num_enumerated"))

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
        planner: how it plans or thinks with what it learnt, by its kind; of no meaning to one with no model or memory.
    """

    evaluation: EvaluationConfig | None
    exact: bool
    agent: str
    regime: str
    seeds: tuple[int, ...]
    rates: tuple[tuple[float, float], ...]
    experience: ExperienceConfig
    learner: LocalConfig | GridConfig | DenseConfig | CellsConfig | CloneConfig | PolicyConfig
    planner: Planning
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
        if type(self.learner) is not type(default_learner(self.agent)):
            raise ValueError(f"learner: expected the settings of {self.agent}, got {type(self.learner).__name__}")
        usual = default_planner(self.agent)
        mine, theirs = ((type(each), getattr(each, "search", None)) for each in (self.planner, usual))
        if mine != theirs:
            raise ValueError(f"planner: expected the settings of {self.agent}, got {self.planner}")
        if self.planner.pessimism and getattr(self.learner, "num_members", 1) == 1:
            raise ValueError(f"pessimism: expected 0 without an ensemble, got {self.planner.pessimism}")
        if isinstance(self.planner, CorpusConfig) and self.planner.tuning_steps:
            PPOConfig(self.planner.tuning_steps)  # is it long enough?
        sizes = self.learner.hidden_sizes if isinstance(self.learner, PPOConfig | QConfig | CloneConfig) else ()
        if any(size % 8 for size in sizes) and not isinstance(self.learner, PlansConfig):  # which sees no poses
            raise ValueError(f"hidden_sizes: expected multiples of 8, got {sizes}")
        if isinstance(self.learner, RecurrentPPOConfig) and self.learner.memory_size % 8:
            raise ValueError(f"memory_size: expected a multiple of 8, got {self.learner.memory_size}")

    @property
    def versions(self) -> dict[str, int]:
        """The versions of all that its numbers depend on: nobody is scored while it is only trained, and few plan."""
        beside_planners = isinstance(self.learner, AdvisedConfig | CloneConfig)
        unmet = () if self.evaluation else DEPLOYED[beside_planners:]
        return {part: number for part, number in VERSIONS.items() if part not in unmet}

    @property
    def alone(self) -> "Training":
        """The training without what comes after it, which agents share whose planners alone differ."""
        model = self.agent.partition("+")[0]
        if self.agent in ADVISED:  # all learn beside the same adviser
            return replace(self, evaluation=None, agent=ADVISED[0], planner=AdviceConfig())
        if model not in MODELS:
            planner = ThinkingConfig() if self.agent in REMEMBERING else self.planner
            return replace(self, evaluation=None, planner=planner)
        return replace(self, evaluation=None, agent=f"{model}+exact", planner=PlannerConfig())

    @property
    def adviser(self) -> "Training | None":
        """The training of whom its agent asks, if that one has learnt, too: beside it, seed by seed."""
        if self.agent != "advised+clone":
            return None
        rates = (LANE_DEFAULTS["clone"],) * len(self.seeds)
        learner = default_learner("clone")
        return replace(self, evaluation=None, agent="clone", regime="open", rates=rates, learner=learner)

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The training runs."""
        return tuple(Lane(seed, *rates) for seed, rates in zip(self.seeds, self.rates, strict=True))

    @property
    def label(self) -> str:
        """A name for people."""
        who = agent_name(self.agent, self.planner)
        return f"{who} {self.regime} {_in_words(self.seeds)}{_deployed(self.evaluation)}"


@dataclass(frozen=True)
class Control(Trial):
    """An agent on a gymnax environment: it learns, if it does, and every seed plays `evaluation` episodes."""

    evaluation: int
    exact: bool
    env: str
    agent: str
    seeds: tuple[int, ...]
    learning_rate: float
    gamma: float
    learner: Controller
    planner: Planning

    def __post_init__(self):
        check_choice("agent", self.agent, CONTROLLERS)
        check_fields(self, ("evaluation",), learning_rate=(1e-8, 1), gamma=(0, 0.9999))
        _check_seeds(self.seeds)
        if self.planner.pessimism:
            raise ValueError(f"pessimism: expected 0 without an ensemble, got {self.planner.pessimism}")
        for name, mine, usual in zip(
            ("learner", "planner"), (self.learner, self.planner), default_controller(self.agent), strict=True
        ):
            if type(mine) is not type(usual):
                raise ValueError(f"{name}: expected the settings of {self.agent}, got {type(mine).__name__}")

    @property
    def versions(self) -> dict[str, int]:
        """The versions of all that its numbers depend on: nothing of the factory."""
        return {part: VERSIONS[part] for part in ("models", "agents", "planners")}

    @property
    def label(self) -> str:
        """A name for people."""
        return f"{self.agent} on {self.env} {_in_words(self.seeds)}"


def trial_from(config: Any) -> Trial:
    """Build a trial from what JSON made of its configuration.

    Raises:
        ValueError: it is none; one line.
    """
    kinds: dict[str, type[Trial]] = {
        kind.__name__.lower(): kind for kind in (Drawing, TrainingLevels, References, Audit, Training, Control)
    }
    task = config.get("task") if isinstance(config, dict) else None
    if not isinstance(task, str) or task not in kinds:
        raise ValueError(f"config.task: expected one of {', '.join(kinds)}, got {str(task)[:40]!r}")
    return build(kinds[task], {name: value for name, value in config.items() if name != "task"})


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ValueError("seeds: expected at least one, got none")
    for seed in seeds:
        check_seed("seeds", seed)


def _deployed(evaluation: EvaluationConfig | None) -> str:
    return f" on {evaluation.shift}" if evaluation and evaluation.shift else ""


def _in_words(seeds: tuple[int, ...]) -> str:
    distinct = sorted(set(seeds))
    together = len(distinct) > 1 and distinct == list(range(distinct[0], distinct[-1] + 1))
    return f"seeds {distinct[0]}–{distinct[-1]}" if together else f"seeds {', '.join(map(str, distinct))}"
