"""The thought experiment itself: an agent that can ask, whoever it asks; and one that plans with its model."""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import ADVISED, CorpusConfig

EXPERIMENT = Experiment(
    name="adviser",
    question="Is it the adviser, or asking, that makes an advised agent interfere?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        Condition("refusing"),
        Condition("serving"),
        *(Condition(agent, ("withheld+jams", "open")) for agent in ADVISED if agent != "advised+clone"),
        Condition("advised+clone", ("withheld+jams",), planner=CorpusConfig(share=0.5)),
        Condition("local+exact", ("withheld",)),
    ),
    num_seeds=8,
    first_seed=400,
    num_levels=128,
    deployment_seed=6101,
    ppo_levels=2000,
    ppo_steps=2**19,
)
