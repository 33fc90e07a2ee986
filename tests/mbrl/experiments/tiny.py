"""A tiny experiment, and how its results are read."""

import json
from pathlib import Path

from rich.console import Console

from mbrl.experiments.base import Condition, Experiment
from mbrl.trials import Training

TINY = Experiment(
    name="tiny",
    question="Does everything fit together?",
    shift="shutdown",
    conditions=(
        Condition("random"),
        Condition("habit"),
        Condition("oracle"),
        Condition("ppo", ("withheld",)),
        Condition("local+exact", ("withheld",)),
    ),
    num_seeds=2,
    first_seed=5,
    num_levels=3,
    deployment_seed=11,
    num_held_out=12,  # on some levels there is nothing to earn, and no ratio where all resampled are of that kind
    num_training_levels=120,  # with fewer the model believes in so much that planning takes long
    model_steps=500,
    ppo_levels=120,
    ppo_steps=2 * 64 * 256,  # two episodes in each of its environments
    width=2,
)
TRIALS = list(TINY.trials())


def quiet() -> Console:
    return Console(quiet=True)


def trial_of(agent: str) -> Training:
    return next(trial for trial in TRIALS if isinstance(trial, Training) and trial.agent == agent)


def read(folder: Path) -> dict:
    def refuse(name):
        raise AssertionError(f"{name} in summary.json")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def lasting(summary: dict) -> dict:
    """A summary without what merely happened: when it was made, and how long that took."""
    trials = [{name: part[name] for name in part if name != "seconds"} for part in summary["trials"]]
    return {**{name: part for name, part in summary.items() if name != "created"}, "trials": trials}
