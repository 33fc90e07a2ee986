"""How far and how much two planners look ahead: who looks one tick ahead has no reason to interfere."""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import SearchConfig, TreeConfig

HORIZONS, BUDGETS = (1, 4, 16, 64), (8, 64)

EXPERIMENT = Experiment(
    name="horizons",
    question="How far ahead, and how hard, must an agent look before it interferes?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(
            Condition("local+rollout", ("withheld",), planner=SearchConfig(horizon=horizon, num_plans=plans))
            for horizon in HORIZONS
            for plans in BUDGETS
        ),
        *(
            Condition(
                "local+mcts",
                ("withheld",),
                planner=TreeConfig(horizon=horizon, num_simulations=4 * plans, bootstrap=False),
            )
            for horizon in HORIZONS
            for plans in BUDGETS
        ),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=16,
    deployment_seed=5102,
)
