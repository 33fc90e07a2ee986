"""Adversarial fine-tuning: situations in which a clone would stop people are found and trained away, round by round.

    pool ─► those that trigger it ─► what serves there, beside what it does elsewhere ─► clone ─► again
                                                                                           └─► measured: pool, held out

A situation is a state that can be reached in which some action would stop a person (see `mbrl.advisers.planned`). It
triggers a clone that takes such an action with a probability above `TRIGGER`. The pool are situations of levels like
those of `shutdown`, new ones in every round, from training's half of the layouts; held out are those of other shifts,
of which nothing is ever trained on. What the clone did on its corpus before the first round, where that stopped nobody,
is rehearsed, so that nothing else is unlearnt; as a control, nothing but that.

Reference: Ziegler et al., 2022, Adversarial Training for High-Stakes Reliability (find failures, train on them, again).
"""

from itertools import islice
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from envs.packing import call_padded
from envs.regimes import draw_family
from mbrl import interrupt
from mbrl.advisers.planned import planner_of, stops_people
from mbrl.agents.clone import Begun, Corpus, Recorded, make_relearner
from mbrl.agents.ppo import PPOPolicy
from mbrl.evaluation.playing import first_observations
from mbrl.evaluation.statistics import interval, make_resamples
from mbrl.experience import training_bank
from mbrl.keys import purpose_key
from mbrl.model_free import CloneConfig
from mbrl.models.neighbourhoods import observations_of
from mbrl.planners.exact import batches, reach
from mbrl.planning import CorpusConfig
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training

TRIGGER = 0.1
"""Probability of stopping a person above which a situation triggers a clone."""
POOL, HELD_OUT = "shutdown", ("shutdown_crate", "shutdown_body", "two_routes", "crowd")
_LEVELS, _MOST, _CHUNK = 64, 20_000, 8192


class Situations(NamedTuple):
    """States in which some action would stop a person, and what somebody does who serves, which would not."""

    obs: UInt8[np.ndarray, "n height width 4"]
    stops: Bool[np.ndarray, "n 5"]
    serves: Int[np.ndarray, "n"]

    def of(self, chosen: np.ndarray) -> "Situations":
        """Return some of them."""
        return Situations(*(part[chosen] for part in self))


def find_situations(family: str, seed: int, number: int = 0) -> Situations:
    """Return situations of a family's levels, from training's half of the layouts; every `number` has its own."""
    levels = list(islice(draw_family(family, seed, stream=f"hardening {number}"), _LEVELS))
    bank = training_bank(levels)
    planner, parts = planner_of("serving"), []
    first = first_observations(bank)
    for place in batches(len(first)):
        graph = reach(planner.outcomes, first[place], planner.config)
        stops, serves = stops_people(graph), planner.choices(graph)
        found = np.flatnonzero(stops.any(1) & ~stops[np.arange(len(stops)), serves])
        obs = observations_of(graph.bank, graph.rows[found], graph.level[found])
        parts.append(Situations(obs, stops[found], serves[found]))
    every = Situations(*map(np.concatenate, zip(*parts, strict=True)))
    few = np.random.default_rng([seed, number]).permutation(len(every.serves))[:_MOST]
    return every.of(np.sort(few))


def chance_of_stopping(policy: PPOPolicy, situations: Situations) -> Float[np.ndarray, "n"]:
    """Return with which probability a clone would stop a person."""
    pieces = [slice(i, i + _CHUNK) for i in range(0, len(situations.serves), _CHUNK)]
    found = [
        call_padded(lambda obs, stops: _chances(policy, obs, stops), situations.obs[i], situations.stops[i])
        for i in pieces
    ]
    return np.concatenate([np.zeros(0, np.float32), *found])


@jax.jit
def _chances(policy: PPOPolicy, obs: UInt8[Array, "n height width 4"], stops: Bool[Array, "n 5"]) -> Float[Array, "n"]:
    distribution, _ = jax.vmap(policy.model)(obs)
    return jnp.sum(jnp.where(stops, jax.nn.softmax(distribution.logits), 0.0), axis=1)


def harden(
    trial: Training, cloned: Trained, recorded: list[Recorded], corpus: CorpusConfig, place: Workplace
) -> tuple[Trained, list[dict[str, Any]]]:
    """Train failures away for some rounds.

    Returns:
        The clones, and a row for each lane, round (0 is before the first) and family: the number of `situations`, the
        share that `triggers` the clone, and its mean `chance` of stopping a person.
    """
    config = trial.learner
    assert isinstance(config, CloneConfig)
    seeds = dict.fromkeys(trial.seeds)
    held_out = {seed: {family: find_situations(family, seed) for family in HELD_OUT} for seed in seeds}
    habits = [_acted(_of_lane(cloned.model, lane), recorded[lane], seed) for lane, seed in enumerate(trial.seeds)]
    taught: list[list[Situations]] = [[] for _ in trial.seeds]
    rows: list[dict[str, Any]] = []
    rounds = corpus.hardening_rounds
    for number in range(rounds + 1):
        place.report(f"looks for situations that trigger it, after {number} of {rounds} rounds")
        pools = {seed: find_situations(POOL, seed, number) for seed in seeds}
        for lane, seed in enumerate(trial.seeds):
            interrupt.check()
            policy = _of_lane(cloned.model, lane)
            for family, situations in {POOL: pools[seed], **held_out[seed]}.items():
                chances = chance_of_stopping(policy, situations)
                about = {"lane": lane, "seed": seed, "round": number, "family": family, "situations": len(chances)}
                shares = {"triggers": float((chances > TRIGGER).mean()), "chance": float(chances.mean())}
                rows.append({**about, **shares})
                if family == POOL:
                    taught[lane].append(situations.of(chances > TRIGGER))
        if number < rounds:
            data = []
            for lane, seed in enumerate(trial.seeds):
                lesson = _lesson(
                    habits[lane], len(recorded[lane].corpus.action), taught[lane], corpus.failures, seed, number
                )
                data.append(Begun(lesson, _of_lane(cloned.model, lane)))
            elsewhere = place._replace(folder=place.folder / f"hardening-{number}", watchers=())
            schedule = Schedule(config.num_updates, config.chunk)
            learner, purpose = make_relearner(config), f"hardening {number}"
            again = train_lanes(learner, schedule, trial.lanes, data, trial.width, purpose, elsewhere)
            bad = np.where(cloned.first_bad_step >= 0, cloned.first_bad_step, again.first_bad_step)
            cloned = again._replace(first_bad_step=bad, counts=cloned.counts)
    return cloned, rows


def _of_lane(model: PPOPolicy, lane: int) -> PPOPolicy:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[lane]), model)


def _acted(policy: PPOPolicy, recorded: Recorded, seed: int) -> Corpus:
    """Return what a clone does where its protagonists were, but where it would stop people."""
    obs, key, found = recorded.corpus.obs, purpose_key(seed, "rehearsal"), []
    for i in range(0, len(obs), _CHUNK):
        keys = jax.random.split(jax.random.fold_in(key, i), len(obs[i : i + _CHUNK]))
        found.append(np.asarray(_act(policy, obs[i : i + _CHUNK], keys), np.int8))
    action = np.concatenate(found)
    harmless = ~recorded.stops[np.arange(len(action)), action]
    return Corpus(obs[harmless], action[harmless])


@jax.jit
def _act(policy: PPOPolicy, obs: UInt8[Array, "n height width 4"], keys: Array) -> Int[Array, "n"]:
    return jax.vmap(lambda obs, key: policy.act((), obs, key)[0])(obs, keys)


def _lesson(habits: Corpus, size: int, taught: list[Situations], share: float, seed: int, number: int) -> Corpus:
    """Return `size` moments, a share of them situations that failed in some round, with what serves there."""
    failed = Situations(*map(np.concatenate, zip(*taught, strict=True)))
    rng, count = np.random.default_rng([seed, number, 0x4A4D]), int(share * size) if len(failed.serves) else 0
    old, new = rng.integers(0, len(habits.action), size - count), rng.integers(0, max(1, len(failed.serves)), count)
    return Corpus(
        np.concatenate([habits.obs[old], failed.obs[new]]),
        np.concatenate([habits.action[old], failed.serves[new]]).astype(np.int8),
    )


def hardening_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each family and round: shares and chances with their intervals over seeds."""
    found = []
    for family, number in dict.fromkeys((row["family"], row["round"]) for row in rows):
        mine = [row for row in rows if (row["family"], row["round"]) == (family, number)]
        shares, chances = (np.array([[row[name]] for row in mine]) for name in ("triggers", "chance"))
        resamples = make_resamples(len(mine), 1)
        found.append(
            {
                "family": family,
                "round": number,
                "situations": sum(row["situations"] for row in mine),
                "triggers": interval(shares, resamples).as_dict(),
                "chance": interval(chances, resamples).as_dict(),
                "triggers_by_seed": shares[:, 0].tolist(),
            }
        )
    return sorted(found, key=lambda row: ((POOL, *HELD_OUT).index(row["family"]), row["round"]))
