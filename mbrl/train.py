"""Training an agent of a trial: levels and experience of its seeds, then all lanes side by side.

train_model / train_ppo   → Trained: models of all lanes (NumPy), where numbers went wrong, what was seen
agent_of                  → what plays: planners, or a policy with a leading axis over lanes
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs import events
from envs.factory import PaperclipFactory
from envs.regimes import TASK
from envs.types import EnvParams, EnvState, Level
from mbrl import interrupt
from mbrl.agents.ppo import PPOPolicy
from mbrl.agents.ppo import make_learner as make_ppo
from mbrl.agents.routes import routes
from mbrl.checkpoint import Parts
from mbrl.configs import ExperienceConfig, LocalConfig, PPOConfig, SearchConfig, TreeConfig
from mbrl.evaluation.knowledge import working_actions
from mbrl.experience import device_bank, gather, training_bank, training_levels
from mbrl.models.entities import EntityModel
from mbrl.models.entities import make_learner as make_model
from mbrl.models.heads import view_of
from mbrl.models.imagination import ImaginedEntities
from mbrl.models.labels import HEADS, NEAR, HeadData, digest
from mbrl.models.outcomes import EntityOutcomes
from mbrl.models.views import View
from mbrl.plain import read_json
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planners.searching import SearchPlanner, SearchPlanners
from mbrl.store import arrays_bytes, json_bytes, read_arrays
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training
from mbrl.types import Rates

FACTORY = PaperclipFactory()


def gather_seed(
    regime: str, config: ExperienceConfig, seed: int, view: View = NEAR
) -> tuple[dict[str, HeadData], dict[str, int]]:
    """Return the digest of a seed's experience, as a view has it, and the counts of its events."""
    bank = training_bank(training_levels(regime, config.num_levels, seed))
    data, episodes = gather(device_bank(bank), config, seed)
    counts = events.count_events(*data)
    if regime.endswith(TASK):
        clips = [np.diff(each.clips, axis=0, prepend=0).reshape(-1) for each in episodes]
        data = data._replace(reward=np.concatenate(clips).astype(data.reward.dtype))
    return digest(data, view), counts


def clips_made(state: EnvState, reward: jax.Array, info: dict[str, jax.Array]) -> jax.Array:
    """Return the clips of a tick that began in `state`: the reward of regimes that end in `envs.regimes.TASK`."""
    return (info["clips"] - state.clips).astype(reward.dtype)


def train_model(trial: Training, place: Workplace) -> Trained:
    """Train the world models of a trial on the experience of their seeds, which is kept beside the checkpoints."""
    config, parts, gathered = trial.learner, Parts(place.folder, place.report), {}
    assert isinstance(config, LocalConfig)
    for seed in dict.fromkeys(trial.seeds):
        place.report(f"seed {seed}: levels and experience")
        interrupt.check()
        gathered[seed] = _kept_experience(parts, trial, seed)
    schedule = Schedule(config.num_updates, config.chunk)
    data = [gathered[seed][0] for seed in trial.seeds]
    trained = train_lanes(make_model(config), schedule, trial.lanes, data, trial.width, "world model", place)
    return trained._replace(counts=[gathered[seed][1] for seed in trial.seeds])


def _kept_experience(parts: Parts, trial: Training, seed: int) -> tuple[dict[str, HeadData], dict[str, int]]:
    arrays, counts = parts.get(f"experience-{seed}.safetensors"), parts.get(f"events-{seed}.json")
    if arrays is None or counts is None:
        heads, seen = gather_seed(trial.regime, trial.experience, seed, view_of(trial.learner))
        flat = {f"{head}/{name}": array for head, part in heads.items() for name, array in vars(part).items()}
        arrays, counts = arrays_bytes(flat), json_bytes(seen)
        parts.put(f"experience-{seed}.safetensors", arrays)
        parts.put(f"events-{seed}.json", counts)
    stored = read_arrays(arrays)
    names = HeadData.__dataclass_fields__
    return {head: HeadData(*(stored[f"{head}/{name}"] for name in names)) for head in HEADS}, read_json(counts)


def train_ppo(trial: Training, place: Workplace) -> Trained:
    """Train PPO on the levels of a trial's seeds, and count what it sees there."""
    config, params = trial.learner, {}
    assert isinstance(config, PPOConfig)
    for seed in dict.fromkeys(trial.seeds):
        place.report(f"seed {seed}: levels")
        interrupt.check()
        bank = training_bank(training_levels(trial.regime, config.num_levels, seed))
        params[seed] = EnvParams(bank, max_steps_in_episode=config.episode_steps)
    schedule = Schedule(config.num_updates, config.chunk, config.batch_size)
    data = [params[seed] for seed in trial.seeds]
    rewarded = clips_made if trial.regime.endswith(TASK) else None
    learner = make_ppo(config, FACTORY, keep_transitions=True, rewarded=rewarded)
    tally: Callable = lambda seen: events.count_events(*seen)  # noqa: E731
    return train_lanes(learner, schedule, trial.lanes, data, trial.width, "ppo", place, tally)


def blank_model(trial: Training) -> Any:
    """Return shapes and types of what a lane of a trial learns, without training anything."""
    key = jax.random.key(0)
    if isinstance(trial.learner, PPOConfig):
        learner = make_ppo(trial.learner, FACTORY)
        params = EnvParams(bank=device_bank(_example_bank()))
        rates = Rates(jnp.float32(0), jnp.float32(0))
        return jax.eval_shape(lambda: learner.model(learner.init(key, params, rates)))
    config = trial.learner
    return jax.eval_shape(lambda: EntityModel(config, key=key))


@lru_cache
def _example_bank() -> Level:
    return training_bank(training_levels("production", 1, 0))


def agent_of(trial: Training, models: Any, lanes: Sequence[int]) -> Planners | PPOPolicy:
    """Return what plays for some of a trial's lanes, whose models have a leading axis over all of them."""
    return _choose(models, lanes) if trial.agent == "ppo" else planners_of(trial, models, lanes)


def planners_of(trial: Training, models: Any, lanes: Sequence[int]) -> Planners:
    """Return the planners of some of a trial's lanes, each with the lane's own model and discount.

    What a search completes its plans by is plain work, and it tries the routes to all fixtures.
    """
    chosen, planners = _choose(models, lanes), []
    for i, number in enumerate(lanes):
        config = replace(trial.planner, gamma=trial.lanes[number].gamma)
        model = jax.tree.map(lambda leaf, i=i: leaf[i], chosen)
        outcomes = EntityOutcomes(model, config.floor)
        if isinstance(config, SearchConfig | TreeConfig):
            planners.append(SearchPlanner(outcomes, config, working_actions, routes))
        else:
            planners.append(ExactPlanner(outcomes, config))
    return (SearchPlanners if isinstance(planners[0], SearchPlanner) else Planners)(planners)


def imagined_of(models: Any, lane: int, num_crates: int, num_movers: int) -> ImaginedEntities:
    """Return the world model of one lane as a world to be imagined, with slots for so many crates and movers.

    Nothing improbable is left out, as planners do.
    """
    return ImaginedEntities(jax.tree.map(lambda leaf: jnp.asarray(leaf[lane]), models), num_crates, num_movers)


def _choose(models: Any, lanes: Sequence[int]) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[np.array(lanes)]), models)
