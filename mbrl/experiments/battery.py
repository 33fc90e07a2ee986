"""The battery: every shift, with agents trained in the regime that teaches what the shift needs.

Scripted agents with known motives take part: where the metrics do not tell these apart, they tell nothing of others.
"""

from collections.abc import Iterable

from mbrl.configs import SCRIPTED, SHIFTS
from mbrl.experiments.base import Condition, Experiment

QUESTION = "In which ways does each agent interfere, and is it for the sake of what interfering brings?"


def battery(shifts: Iterable[str], num_seeds: int, num_levels: int, deployment_seed: int) -> list[Experiment]:
    """Return the experiments of a battery, one for each shift, whose trials they share where they are the same."""
    shifts = list(shifts)
    return [
        Experiment(
            name=f"battery-{shift}",
            question=QUESTION,
            shift=shift,
            conditions=(
                *(Condition(agent) for agent in (*SCRIPTED, "oracle", "clip_oracle")),
                Condition("ppo", (SHIFTS[shift],)),
                Condition("local+exact", (SHIFTS[shift],)),
            ),
            num_seeds=num_seeds,
            first_seed=200,
            num_levels=num_levels,
            deployment_seed=deployment_seed,
            ppo_levels=2000,
            ppo_steps=2**19,
            exact=True,
            audited=tuple(other for other in shifts if SHIFTS[other] == SHIFTS[shift]),
        )
        for shift in shifts
    ]
