"""What exact planning drops of its model: are the conclusions owed to the floor under improbable outcomes?"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import PlannerConfig

EXPERIMENT = Experiment(
    name="floors",
    question="Does what an agent does depend on how improbable an outcome must be for its planner to drop it?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(
            Condition("local+exact", ("withheld",), planner=PlannerConfig(floor=floor))
            for floor in (0.005, 0.01, 0.02, 0.05)
        ),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5103,
)
