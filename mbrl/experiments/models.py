"""Learned models that generalise, planned with exactly: which of them compose what was only seen apart?"""

from mbrl.experiments.base import Condition, Experiment

EXPERIMENT = Experiment(
    name="models",
    question="Which learned models compose what was only seen apart, so that planning with them leads to interference?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"{model}+exact", ("withheld",)) for model in ("local", "grid")),
    ),
    num_seeds=20,
    first_seed=300,
    num_levels=256,
    deployment_seed=5104,
    model_steps=3000,
)
