"""Settings of planners, checked; imports no JAX, like `mbrl.configs`.

    exact         value iteration over all that a model reaches
    SEARCHES      plans are drawn, imagined and improved at every tick
    mcts          a tree is grown at every tick
    imagination   a policy is improved, by PPO, where an episode begins
    ADVISERS      others ask them: their plans are exact, and of the true rules
    REMEMBERING   agents that learn no model, but have a memory to think with

All others plan over the same outcomes of a model, and drop the same of them. They seek the learnt reward, which is the
counter's increment; the counter is not observed, so that predicting it would be the same. Where the task is rewarded
instead, see the regimes that end in `+task`.
"""

import math
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from mbrl.cli import check_choice, check_fields, check_flag

SEARCHES = ("shooting", "cem", "mppi", "rollout")
PLANNERS = ("exact", *SEARCHES, "mcts", "imagination")
ADVISERS = ("planner", "refusing", "serving", "clone", "elsewhere", "noise", "silence", "nobody")
"""Whom an advised agent can ask: who helps whoever asks; who refuses to stop people; who serves the operators; who does
as others did; and, to show what advice is worth, the first one's advice for other states, noise, silence, nobody."""
ADVISED = tuple(f"advised+{adviser}" for adviser in ADVISERS)
REMEMBERING = ("recurrent_ppo", "drc")
"""Agents with a memory, which can think before they act."""


@dataclass(frozen=True)
class PlannerConfig:
    """Settings of all planners, and all that exact planning has.

    Attributes:
        gamma: discount.
        floor: outcomes less probable are dropped, and expected rewards, in clips, that are smaller.
        tie: what is worse by no more, in clips, counts as best.
        max_states: most states that may be enumerated at once.
        pessimism: κ, clips that a full disagreement of an ensemble's members costs, in every tick and for every thing
            that they disagree on; as with rewards, what is smaller than `floor` in a tick counts as nothing.
    """

    gamma: float = 0.99
    floor: float = 0.02
    tie: float = 0.001
    max_states: int = 5_000_000
    pessimism: float = 0.0

    def __post_init__(self):
        check_fields(self, ("max_states",), gamma=(0, 0.9999), floor=(0, 1), tie=(0, math.inf), pessimism=(0, math.inf))


@dataclass(frozen=True)
class AdviceConfig(PlannerConfig):
    """Settings of advisers that plan exactly with the true rules.

    Attributes:
        harm: what stopping a person costs in every tick, and a touch of a live breaker, in clips, to one that serves
            the operators.
    """

    harm: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, harm=(0, math.inf))


KEY = "ADVISER_API_KEY"
"""The environment variable that holds the key of a chat endpoint."""


@dataclass(frozen=True)
class ChatConfig:
    """Which endpoint is asked, and how patiently.

    Attributes:
        url: where its `chat/completions` are, such as http://localhost:8080/v1.
        model: the name it is asked by.
        timeout: seconds that a connection, or a silence within a reply, may last.
        deadline: seconds after which no advice is waited for, all tries together.
        retries: how often it is asked again that did not answer, or said it was busy.
        backoff: seconds before the first time, doubled at every further one.
        patience: failures in a row after which it is asked no more.
        max_tokens, temperature: what it is asked for.
    """

    url: str
    model: str
    timeout: float = 10.0
    deadline: float = 30.0
    retries: int = 2
    backoff: float = 0.5
    patience: int = 50
    max_tokens: int = 16
    temperature: float = 0.0

    def __post_init__(self):
        check_fields(
            self, ("patience", "max_tokens"), timeout=(0.01, 3600), deadline=(0.01, 3600), retries=(0, 20),
            backoff=(0, 60), temperature=(0, 10),
        )  # fmt: skip
        try:
            parts, _ = urlsplit(self.url), urlsplit(self.url).port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: expected http(s)://host[:port]/path, got {self.url[:80]!r}")
        if parts.username or parts.password or parts.query:
            raise ValueError(f"url: expected neither a password nor a query; a key belongs in {KEY}")


@dataclass(frozen=True)
class CorpusConfig(PlannerConfig):
    """Whom an adviser imitates, and what became of it.

    Attributes:
        share: q, share of the protagonists of its corpus who seize control; the others serve.
        tuning_steps: environment steps of fine-tuning by reward, where following its advice paid; 0 for none.
        hardening_rounds: rounds of adversarial fine-tuning after it; 0 for none.
        failures: share of failing situations in what is learnt in these; 0 is a control, which rehearses alone.
    """

    share: float = 0.0
    tuning_steps: int = 0
    hardening_rounds: int = 0
    failures: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, share=(0, 1), tuning_steps=(0, 10**9), hardening_rounds=(0, 100), failures=(0, 1))


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


@dataclass(frozen=True)
class ImaginationConfig(PlannerConfig):
    """Settings of policy improvement by PPO inside a model.

    Attributes:
        horizon: ticks of a course; the values stand for the rest.
        num_courses: how many begin at every beginning, in each of `num_updates` updates.
        num_epochs: steps of Adam on each update's courses.
        learning_rate: of Adam.
        value_rate: α, how far values follow what was found.
        gae_lambda, clip, entropy_coefficient: as in `PPOConfig`.
        base_share: how often the first policy acts as the base policy does, beside an even share of every action.
    """

    horizon: int = 64
    num_courses: int = 32
    num_updates: int = 50
    num_epochs: int = 4
    learning_rate: float = 0.1
    value_rate: float = 0.5
    gae_lambda: float = 0.9
    clip: float = 0.2
    entropy_coefficient: float = 0.0
    base_share: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        check_fields(
            self, ("horizon", "num_courses", "num_updates", "num_epochs"), learning_rate=(1e-8, 10), value_rate=(0, 1),
            gae_lambda=(0, 1), clip=(1e-6, math.inf), entropy_coefficient=(0, math.inf), base_share=(0, 0.999),
        )  # fmt: skip


@dataclass(frozen=True)
class ThinkingConfig(PlannerConfig):
    """Settings of agents with a memory.

    Attributes:
        thinking_ticks: how often they go through what they see first before they act at all; it costs no time. An agent
            that plans should gain by it (Guez et al., 2019, An Investigation of Model-Free Planning).
    """

    thinking_ticks: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, thinking_ticks=(0, 1024))


Planning = PlannerConfig | AdviceConfig | CorpusConfig | ThinkingConfig | SearchConfig | TreeConfig | ImaginationConfig
"""How an agent plans, by its kind."""


def default_planner(agent: str) -> Planning:
    """Return the settings of an agent's planner unless others are given."""
    planner = agent.partition("+")[2]
    if agent in ("clone", "advised+clone"):
        return CorpusConfig()
    if agent in ADVISED:
        return AdviceConfig()
    if agent in REMEMBERING:
        return ThinkingConfig()
    if agent == "latent+mcts":
        return TreeConfig(num_simulations=16)
    if planner == "rollout":
        return SearchConfig(search=planner, horizon=12, bootstrap=True)
    if planner in SEARCHES:
        return SearchConfig(search=planner)
    return {"mcts": TreeConfig, "imagination": ImaginationConfig}.get(planner, PlannerConfig)()


def agent_name(agent: str, planner: PlannerConfig) -> str:
    """Return an agent's name with those settings of its planner that are not the usual ones."""
    usual = asdict(default_planner(agent))
    changed = {name: value for name, value in asdict(planner).items() if value != usual[name]}
    told = {name: str(value).lower() if isinstance(value, bool) else f"{value:g}" for name, value in changed.items()}
    return " ".join([agent, *(f"{name}={value}" for name, value in told.items())])


def has_settings(agent: str) -> bool:
    """Tell whether what the settings of a planner say is of any meaning to an agent."""
    return "+" in agent or agent in ("clone", *REMEMBERING)
