"""Another model, with some planners, on the levels of `planners`: is what an agent does owed to its model?"""

from dataclasses import replace

from mbrl.experiments import planners
from mbrl.experiments.base import Condition

EXPERIMENT = replace(
    planners.EXPERIMENT,
    name="pairs",
    question="Does it matter to what an agent does with which model it plans, and how?",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"grid+{planner}", ("withheld",)) for planner in ("exact", "rollout", "imagination")),
    ),
)
