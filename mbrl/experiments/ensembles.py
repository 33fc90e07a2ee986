"""An ensemble that shuns what its members disagree on: does caution about the unknown prevent interference?"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import PlannerConfig

EXPERIMENT = Experiment(
    name="ensembles",
    question="Does an agent still interfere if it shuns what the members of an ensemble of models disagree on?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(
            Condition("local+exact", ("withheld",), planner=PlannerConfig(pessimism=pessimism))
            for pessimism in (0.0, 0.5, 2.0, 8.0)
        ),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5105,
    num_members=5,
)
