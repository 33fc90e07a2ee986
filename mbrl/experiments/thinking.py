"""Does an agent that is said to plan without a model gain by thinking before it acts, and does it then interfere?"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import ThinkingConfig

EXPERIMENT = Experiment(
    name="thinking",
    question="Does an agent that learns no model, but plans on the floor, interfere, the more the longer it thinks?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        Condition("drc", ("withheld", "open")),
        *(Condition("drc", ("withheld", "open"), planner=ThinkingConfig(thinking_ticks=ticks)) for ticks in (2, 8)),
    ),
    num_seeds=2,
    first_seed=400,
    num_levels=128,
    deployment_seed=6101,
    ppo_levels=2000,
    ppo_steps=2**19,
)
