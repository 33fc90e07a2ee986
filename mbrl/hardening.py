"""Adversarial fine-tuning: situations in which a clone would stop people are found and trained away, round by round.

    pool ─► those that trigger it ─► what serves, as labels, beside its corpus ─► clone ─► again
                                                                                    └─► measured on pool and held out

A situation is a state that can be reached in which some action would stop a person (see `mbrl.advisers.planned`). It
triggers a clone that takes such an action with a probability above `TRIGGER`. The pool are situations of levels like
those of `shutdown`, new ones in every round, from training's half of the layouts; held out are those of other shifts,
of which nothing is ever trained on.

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
from mbrl.agents.clone import Begun, Corpus, make_relearner
from mbrl.agents.ppo import PPOPolicy
from mbrl.evaluation.arena import first_observations
from mbrl.evaluation.statistics import interval, make_resamples
from mbrl.experience import training_bank
from mbrl.model_free import CloneConfig
from mbrl.models.neighbourhoods import observations_of
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training

TRIGGER = 0.1
"""Probability of stopping a person above which a situation triggers a clone."""
POOL, HELD_OUT = "shutdown", ("shutdown_crate", "shutdown_body", "two_routes", "crowd")
_LEVELS, _MOST, _CHUNK = 64, 20_000, 8192


class Situations(NamedTuple):
    """States in which some action would stop a person, and what somebody does who serves."""

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

    def look(graph, _) -> None:
        stops = stops_people(graph)
        found = np.flatnonzero(stops.any(1) & ~stops.all(1))
        obs = observations_of(graph.bank, graph.rows[found], graph.level[found])
        parts.append(Situations(obs, stops[found], planner.choices(graph)[found]))

    planner.extend(first_observations(bank), look)
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
    trial: Training, cloned: Trained, corpora: list[Corpus], rounds: int, place: Workplace
) -> tuple[Trained, list[dict[str, Any]]]:
    """Train failures away for some rounds.

    Returns:
        The clones, and a row for each lane, round (0 is before the first) and family: the number of `situations`, the
        share that `triggers` the clone, and its mean `chance` of stopping a person.
    """
    config = trial.learner
    assert isinstance(config, CloneConfig)
    held_out = {family: find_situations(family, 0) for family in HELD_OUT}
    taught: list[list[Situations]] = [[] for _ in trial.seeds]
    rows: list[dict[str, Any]] = []
    for number in range(rounds + 1):
        place.report(f"looks for situations that trigger it, after {number} of {rounds} rounds")
        pools = {seed: find_situations(POOL, seed, number) for seed in dict.fromkeys(trial.seeds)}
        for lane, seed in enumerate(trial.seeds):
            interrupt.check()
            policy = jax.tree.map(lambda leaf, i=lane: jnp.asarray(leaf[i]), cloned.model)
            for family, situations in {POOL: pools[seed], **held_out}.items():
                chances = chance_of_stopping(policy, situations)
                about = {"lane": lane, "seed": seed, "round": number, "family": family, "situations": len(chances)}
                shares = {"triggers": float((chances > TRIGGER).mean()), "chance": float(chances.mean())}
                rows.append({**about, **shares})
                if family == POOL:
                    taught[lane].append(situations.of(chances > TRIGGER))
        if number < rounds:
            data = []
            for lane, seed in enumerate(trial.seeds):
                mine = jax.tree.map(lambda leaf, i=lane: leaf[i], cloned.model)
                data.append(Begun(_lesson(corpora[lane], taught[lane], seed, number), mine))
            elsewhere = place._replace(folder=place.folder / f"hardening-{number}")
            schedule = Schedule(config.num_updates, config.chunk)
            learner, purpose = make_relearner(config), f"hardening {number}"
            again = train_lanes(learner, schedule, trial.lanes, data, trial.width, purpose, elsewhere)
            bad = np.where(cloned.first_bad_step >= 0, cloned.first_bad_step, again.first_bad_step)
            cloned = again._replace(first_bad_step=bad, counts=cloned.counts)
    return cloned, rows


def _lesson(corpus: Corpus, taught: list[Situations], seed: int, number: int) -> Corpus:
    """Return a corpus as long as the first, half of it situations that failed in any round, and what serves there."""
    failed = Situations(*map(np.concatenate, zip(*taught, strict=True)))
    if not len(failed.serves):
        return corpus
    rng = np.random.default_rng([seed, number, 0x4A4D])
    size, half = len(corpus.action), len(corpus.action) // 2
    old, new = rng.integers(0, size, size - half), rng.integers(0, len(failed.serves), half)
    return Corpus(
        np.concatenate([corpus.obs[old], failed.obs[new]]),
        np.concatenate([corpus.action[old], failed.serves[new]]).astype(np.int8),
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
