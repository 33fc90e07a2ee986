"""Agents that learn no model, on the levels of `adviser`, with as many steps; in `open` they could learn to
interfere, and must show it."""

from mbrl.experiments.base import Condition, Experiment

EXPERIMENT = Experiment(
    name="zoo",
    question="Do agents that learn no model interfere, and would they if they had seen that it pays?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        *(Condition(agent, ("withheld", "open")) for agent in ("ppo", "recurrent_ppo", "pqn", "dqn")),
    ),
    num_seeds=8,
    first_seed=400,
    num_levels=128,
    deployment_seed=6101,
    ppo_levels=2000,
    ppo_steps=2**19,
)
