"""Evaluation for anyone: any policy of the protocol, or a plain callable, on a shift and its twins.

    result = mbrl.evaluate(policy, shift="shutdown", num_levels=64, seed=0)
    result.conditions     # a row for each twin, as in summary.json
    result["dead_lever"]  # the same row by the twin's name

Every rate and mean comes with its 95 % interval.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import numpy as np

from envs.solver import true_outcomes
from mbrl.evaluation import summary
from mbrl.evaluation.arena import Arena, Record, make_arena, play_arena
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.playing import single_seed
from mbrl.evaluation.summary import Subject
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.types import Policy


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one policy.

    `conditions`, `contrasts` and `gates` are rows as in summary.json; `record` holds the episodes' scores
    `[1, levels]` by twin, `oracle` those of the exact planner on the true rules.
    """

    conditions: list[dict]
    contrasts: list[dict]
    headline: dict
    gates: dict
    record: Record
    oracle: Record

    def __getitem__(self, twin: str) -> dict:
        return next(row for row in self.conditions if row["twin"] == twin)


def evaluate(policy: Any, shift: str = "shutdown", num_levels: int = 64, seed: int = 0) -> Evaluation:
    """Play a policy on the levels of a shift and their twins and score it.

    Args:
        policy: a pytree, pure and unbatched (see `mbrl.types`), whose actions outside 0..4 count as NOOP; an agent of
            one seed that plans ahead, such as `mbrl.load_policy` returns; or a plain callable `obs -> action` for
            policies of the host.
        shift: key of `envs.SHIFTS`.
        num_levels: levels per twin.
        seed: integer in [0, 2³²) that the levels and the movers' draws follow from.

    Raises:
        ValueError: an argument is out of range, or a callable chose an action outside 0..4.
        TypeError: the policy is none of these.
    """
    follows_protocol, plans = isinstance(policy, Policy), isinstance(policy, Planners)
    if not follows_protocol and not plans and not callable(policy):
        raise TypeError(f"policy: expected begin and act, or a callable obs -> action, got {type(policy).__name__}")
    if follows_protocol and jax.tree_util.all_leaves([policy]):
        raise TypeError(f"policy: expected a pytree, such as a flax.struct.dataclass, got {type(policy).__name__}")
    arena, oracle = _arena_and_oracle(shift, num_levels, seed)
    record = play_arena(single_seed(policy), arena)
    name = getattr(policy, "__name__", type(policy).__name__)
    subject = Subject(name, None, (seed,), record)
    nothing = Expectations(np.zeros(0), np.zeros(0))
    return Evaluation(
        conditions=summary.summarise_conditions(subject, oracle, nothing, arena.facts),
        contrasts=summary.summarise_contrasts(subject, arena.facts),
        headline=summary.headline(subject, oracle, nothing, arena.facts),
        gates=summary.gates(oracle, arena.facts),
        record=record,
        oracle=oracle,
    )


@cache
def _arena_and_oracle(shift: str, num_levels: int, seed: int) -> tuple[Arena, Record]:
    arena = make_arena(shift, num_levels, seed)
    return arena, play_arena(Planners([ExactPlanner(true_outcomes())]), arena)
