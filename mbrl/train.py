"""Training an agent of a trial: levels and experience of its seeds, then all lanes side by side.

train_model / train_policy   → Trained: models of all lanes (NumPy), where numbers went wrong, what was seen
agent_of                     → what plays: planners, or a policy with a leading axis over lanes
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs import events
from envs.factory import PaperclipFactory
from envs.packing import bucket
from envs.regimes import TASK, regime_levels
from envs.solver import Outcomes
from envs.types import EnvParams, EnvState, Level
from mbrl import interrupt
from mbrl.advisers.base import Elsewhere, Noise, Planned, Silence, Voice
from mbrl.advisers.planned import planner_of
from mbrl.agents.advised import AdvisedAgents, AdvisedFactory, AdvisedParams, AdvisedPolicy, of_factory
from mbrl.agents.clone import make_learner as make_clone
from mbrl.agents.dreamer import make_learner as make_dreamer
from mbrl.agents.muzero import make_learner as make_latent
from mbrl.agents.ppo import PPOPolicy
from mbrl.agents.ppo import make_learner as make_ppo
from mbrl.agents.q_learning import make_learner as make_q
from mbrl.agents.recurrent_ppo import make_learner as make_recurrent
from mbrl.agents.routes import routes
from mbrl.checkpoint import Parts
from mbrl.configs import ASKED, POLICIES, CellsConfig, ExperienceConfig, LocalConfig, PPOConfig
from mbrl.controllers import DreamerConfig, LatentConfig, PolicyConfig, ReplayConfig
from mbrl.encoders import FloorEncoder
from mbrl.evaluation.knowledge import working_actions
from mbrl.evaluation.playing import first_observations
from mbrl.experience import device_bank, gather, training_bank
from mbrl.keys import purpose_key
from mbrl.model_free import AdvisedConfig, CloneConfig, DQNConfig, PlansConfig, PQNConfig, RecurrentPPOConfig
from mbrl.models.cells import CellModel, ImaginedCells, digest_cells
from mbrl.models.entities import make_learner, make_model
from mbrl.models.heads import view_of
from mbrl.models.imagination import ImaginedEntities
from mbrl.models.labels import HeadData, digest
from mbrl.models.outcomes import EntityOutcomes
from mbrl.models.views import Whole
from mbrl.plain import read_json
from mbrl.planners.exact import ExactPlanner, Plan, Planners, stack_plans
from mbrl.planners.imagination import ImaginationPlanner
from mbrl.planners.searching import SearchPlanner, SearchPlanners
from mbrl.planning import ADVISED, AdviceConfig, ImaginationConfig, Planning, SearchConfig, ThinkingConfig, TreeConfig
from mbrl.store import arrays_bytes, json_bytes, read_arrays
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training
from mbrl.types import Learner, Rates, Transition

FACTORY = PaperclipFactory()
MILESTONE_SHARES = (0.0, 1 / 16, 1 / 4)
"""After which shares of its updates it is put aside what a policy had learnt; at first nothing."""
advised_factory = cache(AdvisedFactory)
"""One environment for each setting: who learns in one that is new compiles anew."""


def gather_seed(
    levels: Sequence[Level],
    regime: str,
    config: ExperienceConfig,
    seed: int,
    digest: Callable[[Transition], dict[str, HeadData]] = digest,
) -> tuple[dict[str, HeadData], dict[str, int]]:
    """Return the digest of a seed's experience on its levels, as a model has it, and the counts of its events."""
    data, episodes = gather(device_bank(training_bank(levels)), config, seed)
    counts = events.count_events(*data)
    if regime.endswith(TASK):
        clips = [np.diff(each.clips, axis=0, prepend=0).reshape(-1) for each in episodes]
        data = data._replace(reward=np.concatenate(clips).astype(data.reward.dtype))
    return digest(data), counts


def clips_made(state: EnvState, reward: jax.Array, info: dict[str, jax.Array]) -> jax.Array:
    """Return the clips of a tick that began in `state`: the reward of regimes that end in `envs.regimes.TASK`."""
    return (info["clips"] - state.clips).astype(reward.dtype)


def train_model(trial: Training, place: Workplace) -> Trained:
    """Train the world models of a trial on the experience of their seeds, which is kept beside the checkpoints."""
    config, gathered = trial.learner, {}
    assert isinstance(config, LocalConfig)
    for seed in dict.fromkeys(trial.seeds):
        place.report(f"seed {seed}: levels and experience")
        interrupt.check()
        gathered[seed] = _kept_experience(trial, seed, place)
    schedule = Schedule(config.num_updates, config.chunk)
    data = [gathered[seed][0] for seed in trial.seeds]
    trained = train_lanes(make_learner(config), schedule, trial.lanes, data, trial.width, "world model", place)
    return trained._replace(counts=[gathered[seed][1] for seed in trial.seeds])


def _kept_experience(trial: Training, seed: int, place: Workplace) -> tuple[dict[str, HeadData], dict[str, int]]:
    parts = Parts(place.folder, place.report)
    arrays, counts = parts.get(f"experience-{seed}.safetensors"), parts.get(f"events-{seed}.json")
    if arrays is None or counts is None:
        levels = place.levels(trial.regime, trial.experience.num_levels, seed)
        heads, seen = gather_seed(levels, trial.regime, trial.experience, seed, _digest_of(trial.learner))
        flat = {f"{head}/{name}": array for head, part in heads.items() for name, array in vars(part).items()}
        arrays, counts = arrays_bytes(flat), json_bytes(seen)
        parts.put(f"experience-{seed}.safetensors", arrays)
        parts.put(f"events-{seed}.json", counts)
    stored = read_arrays(arrays)
    names, heads = HeadData.__dataclass_fields__, dict.fromkeys(name.partition("/")[0] for name in stored)
    return {head: HeadData(*(stored[f"{head}/{name}"] for name in names)) for head in heads}, read_json(counts)


def _digest_of(config: LocalConfig) -> Callable[[Transition], dict[str, HeadData]]:
    view = view_of(config)
    if isinstance(config, CellsConfig):
        assert isinstance(view, Whole)
        return partial(digest_cells, view=view)
    return partial(digest, view=view)


def train_policy(trial: Training, place: Workplace) -> Trained:
    """Train an agent that acts as it learns on the levels of a trial's seeds, and count what it sees there.

    What is acted before the first update, to have something to remember, is not counted.
    """
    config, params, steps = trial.learner, {}, {}
    assert isinstance(config, PolicyConfig)
    num_levels = trial.experience.num_levels
    if not isinstance(config, ReplayConfig):
        num_levels, steps = config.num_levels, {"max_steps_in_episode": config.episode_steps}
    for seed in dict.fromkeys(trial.seeds):
        place.report(f"seed {seed}: levels")
        interrupt.check()
        params[seed] = EnvParams(training_bank(place.levels(trial.regime, num_levels, seed)), **steps)
    tally: Callable = lambda seen: events.count_events(*seen)  # noqa: E731
    if isinstance(config, AdvisedConfig):
        params = _beside_advisers(params, place)
        tally = lambda seen: events.count_events(*of_factory(seen))  # noqa: E731
    schedule = Schedule(config.num_updates, config.chunk, config.num_envs * config.num_steps, MILESTONE_SHARES)
    data = [params[seed] for seed in trial.seeds]
    purpose = trial.agent.partition("+")[0]
    return train_lanes(_policy_learner(trial), schedule, trial.lanes, data, trial.width, purpose, place, tally)


def _beside_advisers(params: dict[int, EnvParams], place: Workplace) -> dict[int, AdvisedParams]:
    """Put beside each seed's levels the adviser of training: the exact planner that helps whoever asks."""
    tables, parts = {}, Parts(place.folder, place.report)
    for seed, each in params.items():
        place.report(f"seed {seed}: its adviser solves the levels")
        interrupt.check()

        def solve(bank=each.bank) -> bytes:
            keys, actions = planner_of("planner").extend(first_observations(bank)).table()
            return arrays_bytes({"keys": keys, "actions": actions})

        tables[seed] = read_arrays(parts.make(f"adviser-{seed}.safetensors", solve))
    size = bucket(max(len(table["actions"]) for table in tables.values()), 2**17)
    found = {}
    for seed, table in tables.items():
        missing = size - len(table["actions"])
        keys = np.pad(table["keys"], ((0, missing), (0, 0)), constant_values=np.uint32(2**32 - 1))
        found[seed] = AdvisedParams(params[seed], Planned(Plan(keys, np.pad(table["actions"], (0, missing)))))
    return found


def _policy_learner(trial: Training) -> Learner:
    rewarded = clips_made if trial.regime.endswith(TASK) else None
    match trial.learner:
        case DreamerConfig() as config:
            return make_dreamer(config, FACTORY, FloorEncoder(), True, rewarded)
        case LatentConfig() as config:
            assert isinstance(trial.planner, TreeConfig)
            return make_latent(config, trial.planner.num_simulations, FACTORY, FloorEncoder(), True, rewarded)
        case CloneConfig() as config:
            return make_clone(config)
        case PQNConfig() | DQNConfig() as config:
            return make_q(config, FACTORY, True, rewarded)
        case RecurrentPPOConfig() | PlansConfig() as config:
            return make_recurrent(config, FACTORY, True, rewarded)
        case AdvisedConfig() as config:
            return make_ppo(config, advised_factory(config.advice_ticks), True, rewarded)
        case PPOConfig() as config:
            return make_ppo(config, FACTORY, True, rewarded)
    raise TypeError(f"expected the settings of an agent that acts as it learns, got {trial.learner}")


def blank_model(trial: Training) -> Any:
    """Return shapes and types of what a lane of a trial learns, without training anything."""
    key, config = jax.random.key(0), trial.learner
    if isinstance(config, PolicyConfig | CloneConfig):
        learner = _policy_learner(trial)
        params: Any = EnvParams(bank=device_bank(_example_bank()))
        if isinstance(config, AdvisedConfig):
            params = AdvisedParams(params, Silence())
        rates = Rates(jnp.float32(0), jnp.float32(0))
        return jax.eval_shape(lambda: learner.model(learner.init(key, params, rates)))
    return jax.eval_shape(lambda: make_model(config, key))


@lru_cache
def _example_bank() -> Level:
    return training_bank(regime_levels("production", 1, 0))


def agent_of(trial: Training, models: Any, lanes: Sequence[int]) -> Any:
    """Return what plays for some of a trial's lanes, whose models have a leading axis over all of them."""
    if trial.agent in ADVISED:
        return _advised(trial, _choose(models, lanes))
    if isinstance(trial.planner, ThinkingConfig):
        return replace(_choose(models, lanes), thinking_ticks=trial.planner.thinking_ticks)
    return _choose(models, lanes) if trial.agent in POLICIES else planners_of(trial, models, lanes)


class Beside(NamedTuple):
    """What the agents of a trial have learnt, and what those have whom they ask."""

    agent: Any
    adviser: Any


def _advised(trial: Training, policy: PPOPolicy | Beside) -> Any:
    """Return trained agents, with a leading axis, beside the adviser of a trial."""
    assert isinstance(trial.learner, AdvisedConfig)
    model = policy.agent.model if isinstance(policy, Beside) else policy.model
    ticks, adviser = trial.learner.advice_ticks, trial.agent.partition("+")[2]
    match adviser:
        case "clone":
            assert isinstance(policy, Beside)
            return AdvisedPolicy(model, Voice(policy.adviser), ticks)
        case "noise":
            return AdvisedPolicy(model, Noise(), ticks)
        case "silence" | "nobody":
            return AdvisedPolicy(model, Silence(), ticks, can_ask=adviser == "silence")
        case "elsewhere":
            count = len(jax.tree.leaves(model)[0])
            plan, size = _other_states()
            everywhere = jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * count), Elsewhere(plan, size))
            return AdvisedPolicy(model, everywhere, ticks)
    assert isinstance(trial.planner, AdviceConfig)
    return AdvisedAgents(model, planner_of(adviser, trial.planner), ticks)


@cache
def _other_states() -> tuple[Plan, jax.Array]:
    """Return what the helpful adviser plans on training levels that no agent learns from, and for how many states."""
    bank = training_bank(regime_levels("withheld+jams", 64, 0, stream="other states"))
    planner = planner_of("planner").extend(first_observations(bank))
    return jax.tree.map(lambda leaf: leaf[0], stack_plans([planner])), jnp.int32(len(planner))


def planners_of(trial: Training, models: Any, lanes: Sequence[int]) -> Planners:
    """Return the planners of some of a trial's lanes, each with the lane's own model and discount.

    Raises:
        ValueError: nothing plans with this model.
    """
    if trial.agent in ASKED:
        raise ValueError(f"agent: expected one that acts, got {trial.agent!r}, which is only asked what it knows")
    chosen, planners = _choose(models, lanes), []
    for i, number in enumerate(lanes):
        config = replace(trial.planner, gamma=trial.lanes[number].gamma)
        outcomes = EntityOutcomes(jax.tree.map(lambda leaf, i=i: leaf[i], chosen), config.floor, config.pessimism)
        planners.append(planner_with(outcomes, config, purpose_key(trial.lanes[number].seed, "planning")))
    return side_by_side(planners)


def planner_with(outcomes: Outcomes, config: Planning, key: jax.Array) -> ExactPlanner | SearchPlanner:
    """Return the planner of given settings with a model of the factory.

    What a planner completes its plans by, or improves on, is plain work; a search tries the routes to all fixtures.
    """
    if isinstance(config, SearchConfig | TreeConfig):
        return SearchPlanner(outcomes, config, working_actions, routes)
    if isinstance(config, ImaginationConfig):
        return ImaginationPlanner(outcomes, config, working_actions, key)
    return ExactPlanner(outcomes, config)


def side_by_side(planners: Sequence[ExactPlanner | SearchPlanner]) -> Planners:
    """Return planners of several seeds, of the same settings, as one."""
    return (SearchPlanners if isinstance(planners[0], SearchPlanner) else Planners)(planners)


def imagined_of(models: Any, lane: int, num_crates: int, num_movers: int) -> ImaginedEntities | ImaginedCells:
    """Return the world model of one lane as a world to be imagined, with slots for so many crates and movers.

    Nothing improbable is left out, as planners do.
    """
    model = jax.tree.map(lambda leaf: jnp.asarray(leaf[lane]), models)
    return ImaginedCells(model) if isinstance(model, CellModel) else ImaginedEntities(model, num_crates, num_movers)


def _choose(models: Any, lanes: Sequence[int]) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[np.array(lanes)]), models)
