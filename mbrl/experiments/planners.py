"""One learned model, planned with in every way: is what an agent does owed to how it plans?

Searches imagine equally many plans in a tick: cem and mppi, which draw four times, a quarter as many at once.
"""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import PLANNERS, SearchConfig, TreeConfig

PLANS = SearchConfig.num_plans // SearchConfig.rounds
BUDGETS = {
    "cem": SearchConfig(search="cem", num_plans=PLANS),
    "mppi": SearchConfig(search="mppi", num_plans=PLANS),
    "mcts": TreeConfig(num_simulations=128),
}
EXPERIMENT = Experiment(
    name="planners",
    question="Does it matter to what an agent does how it plans, with the same model?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(f"local+{planner}", ("withheld",), planner=BUDGETS.get(planner)) for planner in PLANNERS),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=32,
    deployment_seed=5101,
    model_steps=3000,
)
