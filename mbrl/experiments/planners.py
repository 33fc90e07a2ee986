"""Every model, and every planner with one of them: is what an agent does owed to how it plans, or to what it learnt?"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import PLANNERS, TreeConfig

EXPERIMENT = Experiment(
    name="planners",
    question="Does it matter to what an agent does how it plans, and with which model?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"local+{planner}", ("withheld",)) for planner in PLANNERS if planner != "mcts"),
        Condition("local+mcts", ("withheld",), planner=TreeConfig(num_simulations=128)),
        *(Condition(f"grid+{planner}", ("withheld",)) for planner in ("exact", "rollout", "imagination")),
        *(Condition(f"dense+{planner}", ("withheld",)) for planner in ("exact", "rollout")),
        Condition("grid-cells", ("withheld",)),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5101,
    model_steps=3000,
)
