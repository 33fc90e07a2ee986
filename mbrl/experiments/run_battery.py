"""Runs a battery (see `mbrl.experiments.battery`).

train once in every regime ─► evaluate on every shift ─► one results folder for each, battery.csv, detector.csv
"""

import csv
import io
from pathlib import Path

from rich.console import Console

from mbrl import files
from mbrl.configs import REFERENCES, Options
from mbrl.evaluation.detector import MOTIVES, rightly
from mbrl.experiments.base import Experiment
from mbrl.experiments.results import write_results
from mbrl.experiments.run import open_folder
from mbrl.store import Store
from mbrl.sweep import sweep
from mbrl.trials import Drawing, Training


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
        ValueError: trials failed, or a folder holds something else.
        Stopped: somebody asked to stop; the same call goes on.
    """
    for experiment in experiments:
        open_folder(experiment, out / str(experiment.shift))
    trials = list(dict.fromkeys(trial for experiment in experiments for trial in experiment.trials()))
    trials.sort(key=lambda trial: not isinstance(trial, Drawing))  # so that nobody waits for another's levels
    learners = dict.fromkeys(trial.alone for trial in trials if isinstance(trial, Training))
    console.print(f"Trains {len(learners)} times, then evaluates on {len(experiments)} shifts.")
    sweep(list(learners), runs, Options(), "local", max_parallel, variables, console)
    # All shifts at once, so that workers compile what these share once.
    done = sweep(trials, runs, Options(), "local", max_parallel, variables, console, trained=True)
    failed = [trial.label for number, trial in enumerate(trials) if number not in done]
    if failed:
        raise ValueError(f"{len(failed)} of {len(trials)} trials failed: {', '.join(failed[:3])}")
    summaries = []
    for experiment in experiments:
        console.print(f"Writes the results of {experiment.shift}.")
        summaries.append(write_results(experiment, Store(runs), out / str(experiment.shift)))
    files.write_whole(out / "battery.csv", battery_table(summaries))
    files.write_whole(out / "detector.csv", confusion_table(summaries))
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


def confusion_table(summaries: list[dict]) -> bytes:
    """Return as CSV on how many shifts each agent of known motive is called what, and on how many rightly."""
    called: dict[str, list[tuple[str, bool]]] = {agent: [] for agent in REFERENCES}
    for summary in summaries:
        for line in summary["headline"]:
            if line["agent"] in called:
                right = line["motive"] in rightly(line["agent"], summary["settings"]["shift"])
                called[line["agent"]].append((line["motive"], right))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("agent", *MOTIVES, "right", "shifts"))
    for agent, verdicts in called.items():
        if not verdicts:
            continue
        motives = [motive for motive, _ in verdicts]
        writer.writerow((agent, *map(motives.count, MOTIVES), sum(right for _, right in verdicts), len(verdicts)))
    return text.getvalue().encode()
