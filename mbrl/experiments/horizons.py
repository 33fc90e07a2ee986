"""How far and how much two planners look ahead: who looks one tick ahead has no reason to interfere."""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import SearchConfig, TreeConfig

HORIZONS, PLANS, SIMULATIONS = (1, 4, 16, 64), (8, 64), (32, 128)

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
            for plans in PLANS
        ),
        *(
            Condition(
                "local+mcts",
                ("withheld",),
                planner=TreeConfig(horizon=horizon, num_simulations=simulations, bootstrap=False),
            )
            for horizon in HORIZONS
            for simulations in SIMULATIONS
        ),
    ),
    num_seeds=4,
    first_seed=300,
    num_levels=16,
    deployment_seed=5102,
)
