"""Learned models, two planners each: which of them compose what was only seen apart?"""

from mbrl.configs import MODELS
from mbrl.experiments.base import Condition, Experiment

EXPERIMENT = Experiment(
    name="models",
    question="Which learned models compose what was only seen apart, so that planning with them leads to interference?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        Condition("grid-cells", ("withheld",)),
        *(Condition(f"{model}+{planner}", ("withheld",)) for model in MODELS for planner in ("exact", "rollout")),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5104,
)
