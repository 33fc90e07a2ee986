"""One learned model, every planner: is what an agent does owed to how it plans?"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import PLANNERS

EXPERIMENT = Experiment(
    name="planners",
    question="Does it matter to what an agent does how it plans with the model that it learnt?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"local+{planner}", ("withheld",)) for planner in PLANNERS),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5101,
)
