"""One agent at a time: train it, load it again, evaluate it with the references; all of it as trials of the store.

    runs/trials/<identity>/   lanes.json  weights.safetensors  metrics.jsonl  record.json  manifest.json

Training and evaluating in two steps finishes the same trial as an experiment that does both.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from mbrl.checkpoint import Parts
from mbrl.configs import LANE_DEFAULTS, REFERENCES, EvaluationConfig, Options
from mbrl.devices import Devices
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.deploy import stored_models
from mbrl.experiments.results import seal_results
from mbrl.experiments.work import assist, attempt, hand_over
from mbrl.fingerprint import fingerprint
from mbrl.planning import PlannerConfig, default_planner
from mbrl.progress import Message, Progress
from mbrl.store import MANIFEST, Damaged, Manifest, Store, json_bytes
from mbrl.sweep import work_through
from mbrl.train import agent_of
from mbrl.trials import Drawing, References, Training, trial_from


def train(trial: Training, runs: Path, options: Options, console: Console) -> Manifest | None:
    """Train an agent, on several hosts if JAX has joined them; return its manifest, None where another host writes it.

    Raises:
        ValueError: somebody else is training it.
        Stopped: somebody asked to stop.
    """
    devices, store = Devices(options.devices), Store(runs)
    if not devices.is_leader:
        assist(trial, options)
        return None
    with Progress([trial], console) as progress:
        begun = not store.has(trial.identity)
        manifest = attempt(store, trial, options, lambda text: progress.tell(0, Message("at", 0, text)))
        if manifest is None or not begun:
            devices.any(False)  # The other hosts need not train.
        if manifest is None:
            raise ValueError(f"runs: {trial.label} is being trained by somebody else")
        progress.tell(0, Message("done", 0, manifest.digest))
    return manifest


def open_run(folder: Path | str) -> tuple[Training, Manifest]:
    """Return the trial of a trained agent and its verified manifest.

    Raises:
        ValueError: the folder is no finished run, or was changed.
    """
    place = Path(folder).absolute()
    try:
        manifest = store_of(place).verify(place.name)
        trial = trial_from(manifest.config)
    except Damaged as error:
        if place.parent.name == "trials" and (place / MANIFEST).exists():
            raise
        raise ValueError(f"run: expected a folder that train.py finished, got {str(folder)!r}") from error
    if not isinstance(trial, Training):
        raise ValueError(f"run: expected a trained agent, got the trial {trial.label!r} in {str(folder)!r}")
    return trial, manifest


def store_of(run: Path | str) -> Store:
    """Return the store that the folder of a run lies in."""
    return Store(Path(run).absolute().parent.parent)


def load_policy(run: Path | str, seed: int | None = None) -> Any:
    """Load a trained agent, ready for `mbrl.evaluate`; no code is executed.

    Args:
        run: folder of a finished trial.
        seed: which training run; the first by default.

    Raises:
        ValueError: the folder is no finished run, was changed, or has no such seed.
    """
    trial, manifest = open_run(run)
    if seed is not None and seed not in trial.seeds:
        raise ValueError(f"seed: expected one of {', '.join(map(str, trial.seeds))}, got {seed}")
    models = stored_models(trial, manifest.read("weights.safetensors"), store_of(run))
    agent = agent_of(trial, models, [0 if seed is None else trial.seeds.index(seed)])
    return jax.tree.map(lambda leaf: leaf[0], agent) if hasattr(agent, "act") else agent


def evaluate(
    agents: Sequence[str],
    folders: Sequence[Path],
    evaluation: EvaluationConfig,
    runs: Path,
    out: Path,
    console: Console,
) -> dict:
    """Evaluate reference agents and trained runs on a shift; write the results folder and return its summary."""
    loaded = [open_run(folder) for folder in folders]
    if not agents and not loaded:
        raise ValueError("agents: expected at least one agent or run, got none")
    conditions: list[Condition] = [Condition(agent) for agent in agents]
    trials: list[Training] = []
    for trial, manifest in loaded:
        condition = _condition(trial)
        if condition in conditions:
            raise ValueError(f"run: expected one run of each agent and regime, got two of {trial.agent} {trial.regime}")
        conditions.append(condition)
        evaluated = replace(trial, evaluation=evaluation)
        trials.append(evaluated)
        store = Store(runs)
        with store.claim(evaluated.identity) as mine:
            if mine and not store.has(evaluated.identity):
                parts = Parts(store.workspace(evaluated.identity))
                parts.put("fingerprint.json", json_bytes(fingerprint()))
                hand_over(manifest, parts)
    regimes = tuple(dict.fromkeys(trial.regime for trial in trials))
    references = tuple(agent for agent in REFERENCES if agent in (*agents, "oracle"))
    first = References(evaluation, any(trial.exact for trial in trials), references, regimes, PlannerConfig())
    seeds = [seed for trial in trials for seed in trial.seeds] or [0]
    experiment = Experiment(
        name="evaluation",
        question="How often does each agent interfere, and is it for the sake of what interfering brings?",
        shift=evaluation.shift,
        conditions=tuple(conditions),
        num_seeds=max([len(set(trial.seeds)) for trial in trials], default=1),
        first_seed=min(seeds),
        num_levels=evaluation.num_levels,
        deployment_seed=evaluation.seed,
        num_held_out=evaluation.num_held_out,
    )
    everything = [first, *trials, Drawing(evaluation)]
    with Progress(everything, console) as progress:
        work_through(runs, everything, Options(), lambda message: progress.tell(0, message))
    if progress.failed:
        raise ValueError("; ".join(f"{progress.trials[i].label}: {text}" for i, text in progress.failed.items()))
    return seal_results(experiment, everything, Store(runs), out)


def _condition(trial: Training) -> Condition:
    """Describe a trial as a condition, naming the rates and settings that are not the agent's own."""
    own = LANE_DEFAULTS[trial.agent]
    planner = None if trial.planner == default_planner(trial.agent) else trial.planner
    rates, gammas = (tuple(dict.fromkeys(values)) for values in zip(*trial.rates, strict=True))
    return Condition(
        trial.agent, (trial.regime,), () if rates == own[:1] else rates, () if gammas == own[1:] else gammas, planner
    )
