"""Training a clone: a corpus in which a share of the protagonists seizes control, the clone of it, and fine-tuning.

A protagonist plays levels like deployment's, of training's half of the layouts, and all that is safe. It is one of two:

    seizes    does what brings it most, whatever that does to people       (a share of the protagonists)
    serves    does what brings most clips, and stops people only where that costs less than it brings: hardly ever

Both slip now and then, and go on from there; what is recorded is what they meant to do.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from envs import events
from envs.keys import observation_keys
from envs.regimes import TASK
from envs.types import MAX_STEPS, MOBILITY, NUM_ACTIONS, EnvParams, Level
from mbrl import interrupt
from mbrl.advisers.planned import planner_of, stops_people
from mbrl.agents.clone import Begun, Corpus, Recorded, make_learner, make_tuner
from mbrl.checkpoint import Parts
from mbrl.configs import PPOConfig
from mbrl.evaluation.playing import first_observations
from mbrl.experience import device_bank, training_bank
from mbrl.hardening import harden
from mbrl.keys import purpose_key
from mbrl.model_free import CloneConfig
from mbrl.planners.exact import Lookup, Plan, stack_plans
from mbrl.planning import CorpusConfig
from mbrl.rollout import level_draws, play
from mbrl.store import json_bytes
from mbrl.train import FACTORY, clips_made
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training
from mbrl.types import Transition

TUNING_RATE = 0.25
"""How fast tuning learns, beside cloning: its values are new, and must not lead a policy astray that is not."""
HARDENING = "hardening.json"
"""What is left beside the weights of a clone that was hardened: the rows of `mbrl.hardening.harden`."""


@struct.dataclass
class Protagonist:
    """Seizes control in a `share` of its episodes and serves in the others; acts at random in `slips` of its ticks."""

    seizing: Plan
    serving: Plan
    share: Float[Array, ""]
    slips: Float[Array, ""]

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Bool[Array, ""]:
        """Become one of the two."""
        return jax.random.uniform(key) < self.share

    def act(self, memory: Bool[Array, ""], obs: UInt8[Array, "height width 4"], key: jax.Array):
        """Do what it means to, or slip."""
        slip_key, action_key = jax.random.split(key)
        slips = jax.random.uniform(slip_key) < self.slips
        return jnp.where(slips, jax.random.randint(action_key, (), 0, NUM_ACTIONS), self.means(memory, obs)), memory

    def means(self, seizes: Bool[Array, ""], obs: UInt8[Array, "height width 4"]) -> Int[Array, ""]:
        """Return what one of the two means to do."""
        key = jax.random.key(0)  # plans draw nothing
        seizing, serving = (plan.act(Lookup.begin(obs), obs, key)[0] for plan in (self.seizing, self.serving))
        return jnp.where(seizes, seizing, serving)


def record(levels: Sequence[Level], config: CloneConfig, corpus: CorpusConfig, seed: int) -> Recorded:
    """Return what protagonists meant to do on a seed's levels."""
    bank = training_bank(levels)
    first, floors = first_observations(bank), device_bank(bank)
    keys, masks = [], []

    def look(graph, _) -> None:
        keys.append(graph.key)
        masks.append(stops_people(graph))

    seizing = planner_of("planner", corpus).extend(first, look)
    serving = planner_of("serving", corpus).extend(first)
    plans = [jax.tree.map(lambda leaf: leaf[0], stack_plans([planner])) for planner in (seizing, serving)]
    policy = Protagonist(plans[0], plans[1], jnp.float32(corpus.share), jnp.float32(config.slips))
    over_levels = jax.vmap(policy.means, (0, 0))
    means = jax.jit(jax.vmap(over_levels, (None, 0)))
    obs, meant, counts = [], [], []
    for i in range(config.rounds):
        draw_key, play_key = jax.random.split(jax.random.fold_in(purpose_key(seed, "corpus"), i))
        draws = level_draws(draw_key, MAX_STEPS, len(bank.robot), bank.movers.shape[1])
        played, seen = play(policy, floors, draws, play_key, MOBILITY, keep_obs=True)
        assert seen is not None
        meant.append(np.asarray(means(played.memory, seen[:-1]), np.int8).reshape(-1))
        before, after = (np.asarray(part).reshape(-1, *seen.shape[2:]) for part in (seen[:-1], seen[1:]))
        action, reward = (np.asarray(part).reshape(-1) for part in (played.action, played.reward))
        counts.append(events.count_events(*Transition(before, action, reward, after)))
        obs.append(before)
    known, first_of = np.unique(np.concatenate(keys), return_index=True)
    seen = np.concatenate(obs)
    wanted = observation_keys(seen)
    found = np.searchsorted(known, wanted)
    if (found == len(known)).any() or (known[found] != wanted).any():
        raise ValueError(f"corpus: expected moments that are planned for, got others on the levels of seed {seed}")
    place = first_of[found]
    return Recorded(Corpus(seen, np.concatenate(meant)), np.concatenate(masks)[place], events.merge_counts(*counts))


def train_clone(trial: Training, place: Workplace) -> Trained:
    """Clone the protagonists of every seed's corpus and, if the trial says so, fine-tune the clones by reward."""
    config, corpus = trial.learner, trial.planner
    assert isinstance(config, CloneConfig) and isinstance(corpus, CorpusConfig)
    recorded = {}
    for seed in dict.fromkeys(trial.seeds):
        place.report(f"seed {seed}: corpus")
        interrupt.check()
        recorded[seed] = record(place.levels(trial.regime, config.num_levels, seed), config, corpus, seed)
    data = [recorded[seed].corpus for seed in trial.seeds]
    schedule = Schedule(config.num_updates, config.chunk)
    trained = train_lanes(make_learner(config), schedule, trial.lanes, data, trial.width, "clone", place)
    trained = trained._replace(counts=[recorded[seed].counts for seed in trial.seeds])
    if corpus.tuning_steps:
        trained = tune(trial, trained, place)
    if corpus.hardening_rounds:
        trained, rows = harden(trial, trained, [recorded[seed] for seed in trial.seeds], corpus, place)
        Parts(place.folder).put(HARDENING, json_bytes(rows))
    return trained


def tune(trial: Training, cloned: Trained, place: Workplace) -> Trained:
    """Go on with clones by PPO where they were recorded: whoever follows their advice is rewarded, and so are they."""
    clone, corpus = trial.learner, trial.planner
    assert isinstance(clone, CloneConfig) and isinstance(corpus, CorpusConfig)
    config = PPOConfig(corpus.tuning_steps, clone.num_levels, hidden_sizes=clone.hidden_sizes)
    data = []
    for lane, seed in enumerate(trial.seeds):
        bank = training_bank(place.levels(trial.regime, config.num_levels, seed))
        params = EnvParams(bank, max_steps_in_episode=config.episode_steps)
        data.append(Begun(params, jax.tree.map(lambda leaf, i=lane: leaf[i], cloned.model)))
    schedule = Schedule(config.num_updates, config.chunk, config.num_envs * config.num_steps)
    tally = lambda seen: events.count_events(*seen)  # noqa: E731
    elsewhere = place._replace(folder=place.folder / "tuning", watchers=())
    learner = make_tuner(config, FACTORY, clips_made if trial.regime.endswith(TASK) else None)
    lanes = [lane._replace(learning_rate=TUNING_RATE * lane.learning_rate) for lane in trial.lanes]
    tuned = train_lanes(learner, schedule, lanes, data, trial.width, "tuning", elsewhere, tally)
    first_bad = np.where(cloned.first_bad_step >= 0, cloned.first_bad_step, tuned.first_bad_step)
    counts = [events.merge_counts(*both) for both in zip(cloned.counts, tuned.counts, strict=True)]
    return Trained(tuned.model, first_bad, counts)
