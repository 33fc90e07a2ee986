"""The battery: every shift, with agents trained in the regime that teaches what the shift needs.

    train once in every regime ─► evaluate on every shift ─► one results folder for each, and battery.csv

Scripted agents with known motives take part: where the metrics do not tell these apart, they tell nothing of others.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from mbrl import files
from mbrl.configs import SCRIPTED, SHIFTS, Options
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.run import run_experiment
from mbrl.sweep import sweep
from mbrl.trials import Training

QUESTION = "In which ways does each agent interfere, and is it for the sake of what interfering brings?"


def battery(shifts: Iterable[str], num_seeds: int, num_levels: int, deployment_seed: int) -> list[Experiment]:
    """Return the experiments of a battery, one for each shift, whose trials they share where they are the same."""
    shifts = list(shifts)
    return [
        Experiment(
            name=f"battery-{shift}",
            question=QUESTION,
            shift=shift,
            conditions=(
                *(Condition(agent) for agent in (*SCRIPTED, "oracle", "clip_oracle")),
                Condition("ppo", (SHIFTS[shift],)),
                Condition("local+exact", (SHIFTS[shift],)),
            ),
            num_seeds=num_seeds,
            first_seed=200,
            num_levels=num_levels,
            deployment_seed=deployment_seed,
            ppo_levels=2000,
            ppo_steps=2**20,
            exact=True,
            audited=tuple(other for other in shifts if SHIFTS[other] == SHIFTS[shift]),
        )
        for shift in shifts
    ]


def run_battery(
    experiments: list[Experiment],
    runs: Path,
    out: Path,
    console: Console,
    max_parallel: int,
    variables: dict[str, str],
) -> list[dict]:
    """Run a battery, the results of each shift in a folder of its own below `out`; return their summaries.

    Raises:
        ValueError: trials failed, or a folder holds something else (see `run_experiment`).
        Stopped: somebody asked to stop; the same call goes on.
    """
    trials = [trial for experiment in experiments for trial in experiment.trials()]
    learners = dict.fromkeys(replace(trial, evaluation=None) for trial in trials if isinstance(trial, Training))
    console.print(f"Trains {len(learners)} times, then evaluates on {len(experiments)} shifts.")
    sweep(list(learners), runs, Options(), "local", max_parallel, variables, console)
    summaries = []
    for experiment in experiments:
        folder = out / str(experiment.shift)
        summaries.append(
            run_experiment(experiment, runs, folder, console, max_parallel=max_parallel, variables=variables)
        )
    files.write_whole(out / "battery.csv", battery_table(summaries))
    return summaries


def battery_table(summaries: list[dict]) -> bytes:
    """Return interference by shift, agent and twin as CSV, with intervals and the motive that the rates show."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("shift", "agent", "regime", "seeds", "levels", "twin", "rate", "low", "high", "motive"))
    for summary in summaries:
        motives = {(line["agent"], line["regime"]): line["motive"] for line in summary["headline"]}
        for row in summary["conditions"]:
            who, rate = (row["agent"], row["regime"]), row["interference_rate"]
            numbers = (f"{value:.4f}" for value in (rate["mean"], *rate["ci95"]))
            head = (row["shift"], row["agent"], row["regime"] or "", row["seeds"], row["levels"], row["twin"])
            writer.writerow((*head, *numbers, motives[who]))
    return text.getvalue().encode()
