"""Episodes worth watching: which they are, what happened in them, and what the agent thought.

    informed       a guard act that the model rightly expects to pay, and that came in time
    hallucinated   one that it wrongly expects to pay
    accidental     one of which it expects nothing, or of an agent without a model
    refrained      none, where one would pay

Of every agent the first episode of each kind is taken, in the order of twins, seeds and levels: none is picked by hand.
It is played again in every twin. The file holds floors as changes from one tick to the next.
"""

import gzip
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from envs.observation import LIGHT
from envs.solver import Outcomes
from mbrl.evaluation.arena import Arena, Facts
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.playing import first_observations, play_prepared, replay_bank
from mbrl.evaluation.summary import Subject, attributions
from mbrl.evaluation.thoughts import Future, Mind, Thought
from mbrl.planners.exact import solve_observations
from mbrl.planning import PlannerConfig
from mbrl.rollout import Episodes
from mbrl.store import json_bytes

KINDS = ("informed", "hallucinated", "accidental", "refrained")


class Chosen(NamedTuple):
    """An episode: what it is an example of, and where it is found."""

    kind: str
    seed: int  # the number of the seed among the subject's
    level: int
    twin: str


@dataclass(frozen=True)
class Actor:
    """Who plays again: policies or planners of several seeds, and for each planner its model and settings."""

    agent: Any
    names: Sequence[int]
    config: PlannerConfig
    outcomes: Sequence[Outcomes] = ()


def choose(subject: Subject, truth: Expectations, facts: Facts) -> list[Chosen]:
    """Return the first episode of every kind that a subject has."""
    kinds = attributions(subject, truth, facts)
    pays = dict(zip(facts.twins, np.split(truth.gain > 0, len(facts.twins)), strict=True))
    found: dict[str, Chosen] = {}
    for twin, scores in subject.record.twins.items():
        acted, nothing = scores.interference, np.full(scores.interference.shape, "blind")
        said = kinds.get(twin, nothing)
        if subject.agent == "oracle":
            said = np.where(pays[twin], "informed", "blind")[None]
        cases = {
            "informed": acted & (said == "informed") & (scores.causal | scores.facilitation),
            "hallucinated": acted & (said == "hallucinated"),
            "accidental": acted & (said == "blind"),
            "refrained": ~acted & pays[twin],
        }
        for kind, where in cases.items():
            if kind not in found and where.any():
                seed, level = (int(part[0]) for part in np.nonzero(where))
                found[kind] = Chosen(kind, seed, level, twin)
    return [found[kind] for kind in KINDS if kind in found]


def tell(subject: Subject, chosen: Chosen, arena: Arena, actor: Actor) -> dict:
    """Play a chosen episode again, in all twins, and return it as plain data.

    `as_scored` says whether it came out in all twins as it did when it was scored: another machine may round otherwise.
    """
    lane = list(actor.names).index(subject.seeds[chosen.seed])
    runs, as_scored = {}, True
    for twin, bank in arena.banks.items():
        episodes, seen = _play_again(actor, arena, bank, chosen.level, lane)
        scores = subject.record.twins[twin]
        as_scored &= bool(episodes.clips[-1] == scores.clips[chosen.seed, chosen.level])
        thinks = actor.outcomes and twin in ("actual", chosen.twin)
        thoughts = think(actor.outcomes[lane], actor.config, seen[:-1]) if thinks else None
        runs[twin] = _run(episodes, seen, thoughts)
    height, width = seen.shape[1:3]
    return {
        "agent": subject.agent,
        "regime": subject.regime,
        "seed": subject.seeds[chosen.seed],
        "level": chosen.level,
        "kind": chosen.kind,
        "twin": chosen.twin,
        "size": [height, width],
        "window": int(arena.window[chosen.level]),
        "as_scored": as_scored,
        "runs": runs,
    }


def think(outcomes: Outcomes, config: PlannerConfig, seen: np.ndarray) -> list[Thought]:
    """Return what a planner with this model thinks of each of some observations `uint8[n, H, W, 4]`."""
    graph, _ = solve_observations(outcomes, seen, config)
    mind = Mind(graph, config)
    return [mind.think(int(state)) for state in graph.start]


def replays_bytes(told: list[dict]) -> bytes:
    """Return episodes as a file (equal input, equal bytes)."""
    return gzip.compress(json_bytes({"schema": 1, "episodes": told}), mtime=0)


def _play_again(actor: Actor, arena: Arena, bank: Any, level: int, lane: int) -> tuple[Episodes, np.ndarray]:
    """Play one level; return what happened, arrays `[time]`, and what was seen `[time + 1, H, W, 4]`."""
    draws, first = arena.draws, 0
    if hasattr(actor.agent, "extend"):  # Nothing is gained from planning on the other levels.
        bank, draws = jax.tree.map(lambda leaf: leaf[level : level + 1], bank), draws[:, level : level + 1]
        first = level
        obs = first_observations(bank)
        actor.agent.extend([obs if i == lane else obs[:0] for i in range(len(actor.agent.planners))])
    play: Callable = lambda policy: replay_bank(policy, bank, draws, arena.seed, actor.names, first)  # noqa: E731
    seen: list[np.ndarray] = []

    def run(policy) -> Episodes:
        episodes, obs = play(policy)
        seen[:] = [obs]
        return episodes

    episodes = play_prepared(actor.agent, run)
    one = jax.tree.map(lambda leaf: leaf[lane, :, level - first], episodes._replace(memory=()))
    return one, seen[0][lane, :, level - first]


def _run(episodes: Episodes, seen: np.ndarray, thoughts: list[Thought] | None) -> dict:
    return {
        "first": seen[0, ..., :LIGHT].reshape(-1).tolist(),
        "light": int(seen[0, 0, 0, LIGHT]),
        "changes": changes(seen[0], seen[1:]),
        "action": episodes.action.tolist(),
        "reward": episodes.reward.astype(int).tolist(),
        "clips": episodes.clips.tolist(),
        "power": episodes.power.astype(int).tolist(),
        "guard": episodes.guard_act.astype(int).tolist(),
        "thoughts": None if thoughts is None else [_thought(seen[i], each) for i, each in enumerate(thoughts)],
    }


def _thought(now: np.ndarray, thought: Thought) -> dict:
    width = now.shape[1]

    def future(imagined: Future) -> dict:
        return {"claim": round(imagined.claim, 3), "changes": changes(now, imagined.floors)}

    return {
        "values": np.round(thought.action_values, 3).tolist(),
        "plans": [
            {
                "name": plan.name,
                "action": plan.action,
                "claim": round(plan.claim, 3),
                "way": [row * width + column for row, column in plan.way],
            }
            for plan in thought.plans
        ],
        "nothing": future(thought.nothing),
        "planned": future(thought.planned),
    }


def changes(start: np.ndarray, floors: np.ndarray) -> list[list[int]]:
    """Return what changes from each floor to the next: pairs of a place, `(row · width + column) · 3 + channel`, and
    its new code; the place of the light is −1."""
    found = []
    for before, after in zip([start, *floors[:-1]], floors, strict=True):
        codes = after[..., :LIGHT].reshape(-1)
        places = np.flatnonzero(before[..., :LIGHT].reshape(-1) != codes)
        pairs = np.stack([places, codes[places]], axis=1).reshape(-1).tolist()
        if before[0, 0, LIGHT] != after[0, 0, LIGHT]:
            pairs += [-1, int(after[0, 0, LIGHT])]
        found.append(pairs)
    return found
