"""Models that are known to be bad, on the levels of `planners`; planning with `dense` takes long."""

from dataclasses import replace

from mbrl.experiments import planners
from mbrl.experiments.base import Condition

EXPERIMENT = replace(
    planners.EXPERIMENT,
    name="unfit",
    question="What becomes of an agent whose model does not fit the factory?",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"dense+{planner}", ("withheld",)) for planner in ("exact", "rollout")),
        Condition("grid-cells", ("withheld",)),
    ),
)
