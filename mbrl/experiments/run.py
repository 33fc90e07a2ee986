"""Runs an experiment: expand it, compute what is not finished, write the results of what is.

    Experiment ─► trials ─► sweep (any backend) ─► store ─► results folder

Stopped or failed in between, it writes what is finished, and the same command goes on.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console

from mbrl import files, interrupt
from mbrl.configs import VERSIONS, Options
from mbrl.experiments.base import Experiment
from mbrl.plain import read_json
from mbrl.store import RESERVATION, Store, json_bytes
from mbrl.sweep import sweep
from mbrl.trials import Training, Trial


def run_experiment(
    experiment: Experiment,
    runs: Path,
    out: Path,
    console: Console,
    options: Options | None = None,
    backend: str = "local",
    max_parallel: int = 1,
    variables: dict[str, str] | None = None,
) -> dict:
    """Run an experiment, its trials in the store `runs`, its results in the folder `out`; return the summary.

    Raises:
        ValueError: `out` holds something else, or trials failed (after the results of the others were written).
        Stopped: somebody asked to stop (likewise).
    """
    open_folder(experiment, out)
    trials, store = list(experiment.trials()), Store(runs)
    how = (options or Options(), backend, max_parallel, variables or {}, console)
    try:
        if shared := shared_trainings(trials):
            console.print(f"Trains {len(shared)} times what agents share whose planners alone differ.")
            sweep(shared, runs, *how)
        done = sweep(trials, runs, *how)
    except interrupt.Stopped:
        if store.has(trials[0].identity):
            _write(experiment, store, out)
        raise
    summary = _write(experiment, store, out) if 0 in done else {}
    failed = [trial.label for number, trial in enumerate(trials) if number not in done]
    if failed:
        more = " …" if len(failed) > 3 else ""
        raise ValueError(f"{len(failed)} of {len(trials)} trials failed: {', '.join(failed[:3])}{more}")
    return summary


def shared_trainings(trials: list[Trial]) -> list[Trial]:
    """Return the trainings that more than one trial begins with, or needs of whom its agent asks."""
    trainings = [trial for trial in trials if isinstance(trial, Training)]
    counts = Counter(trial.alone for trial in trainings)
    counts.update(2 * [trial.adviser for trial in trainings if trial.adviser is not None])
    return [training for training, count in counts.items() if count > 1]


def _write(experiment: Experiment, store: Store, out: Path) -> dict:
    from mbrl.experiments.results import write_results  # imports JAX, which only the workers needed so far

    return write_results(experiment, store, out)


def plan(experiment: Experiment, runs: Path) -> list[tuple[str, str, bool]]:
    """Return identity and label of every trial, and whether its folder is in the store; imports no JAX."""
    store = Store(runs)
    return [(trial.identity, trial.label, store.has(trial.identity)) for trial in experiment.trials()]


def open_folder(experiment: Experiment, out: Path) -> None:
    """Reserve a results folder for an experiment.

    Raises:
        ValueError: it holds another experiment, or the same with other settings.
    """
    mine, path = json_bytes({"experiment": experiment.as_dict(), "versions": VERSIONS}), out / RESERVATION
    if path.exists():
        theirs = files.read(path)
        if theirs != mine:
            where = _first_difference(theirs, mine)
            raise ValueError(f"out: {str(out)!r} holds results of other settings ({where}); choose another folder")
    elif (out / "summary.json").exists():
        raise ValueError(f"out: {str(out)!r} holds other results; choose another folder")
    else:
        files.write_whole(path, mine)


def _first_difference(theirs: bytes, mine: bytes) -> str:
    """Say in which setting two reservations differ."""
    try:
        one, other = (_flat(read_json(content)) for content in (theirs, mine))
    except ValueError:
        return "its experiment.json is damaged"
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return f"{names[0]}: {one.get(names[0])} there, {other.get(names[0])} here" if names else "written otherwise"


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    """Name the leaves of nested dictionaries."""
    if not isinstance(data, dict):
        return {prefix: data}
    return {name: leaf for key, part in data.items() for name, leaf in _flat(part, str(key)).items()}
