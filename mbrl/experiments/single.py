"""One agent at a time: train it and leave it in a folder, load it again, evaluate it with the references.

runs/ppo-withheld-0x4/   config.json   weights.npz   curve.csv
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from envs.factory import PaperclipFactory
from envs.types import EnvParams
from mbrl.agents.ppo import PPOConfig, PPOPolicy, make_learner
from mbrl.experience import ExperienceConfig, device_bank, training_bank, training_levels
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.run import Evaluator, Stages
from mbrl.models.local import LocalConfig, LocalModel
from mbrl.store import load_arrays, save_arrays, write_bytes, write_json
from mbrl.train import gather_seed, plan_with, train_model, train_ppo

DEFAULTS = {
    "ppo": (PPOConfig.total_steps, PPOConfig.learning_rate),
    "local+exact": (LocalConfig.num_steps, LocalConfig.learning_rate),
}
"""Steps and learning rate of each agent that learns."""


@dataclass(frozen=True)
class TrainingRun:
    """What is trained: an agent, a regime, seeds, and how long and fast."""

    agent: str
    regime: str
    first_seed: int
    num_seeds: int
    num_levels: int
    steps: int
    learning_rate: float

    @property
    def seeds(self) -> range:
        """The training seeds."""
        return range(self.first_seed, self.first_seed + self.num_seeds)

    @property
    def name(self) -> str:
        """Name of the run's folder."""
        return f"{self.agent}-{self.regime}-{self.first_seed}x{self.num_seeds}"


def train(run: TrainingRun, out: Path, console: Console) -> None:
    """Train all seeds of a run and write configuration, weights and curve into `out`."""
    stages, data = Stages(console, 3), []
    config = (
        PPOConfig(total_steps=run.steps, learning_rate=run.learning_rate) if run.agent == "ppo" else _local_config(run)
    )
    with stages.stage("Levels and experience") as report:
        for seed in run.seeds:
            report(f"seed {seed}")
            data.append(gather_seed(run.regime, ExperienceConfig(num_levels=run.num_levels), seed))
    with stages.stage(f"Train {run.agent}") as report:
        if run.agent == "ppo":
            policy, steps, values = train_ppo(
                data,
                config,
                lambda done, reward: report(f"{done:,} of {run.steps:,} steps, {np.mean(reward):.2f} an episode"),
            )
            weights, column = policy, "reward"
        else:
            models, losses = train_model(data, config)
            weights = jax.tree.map(lambda *leaves: jnp.stack(leaves), *models)
            values = np.asarray(losses["robot"])
            steps, column = np.arange(1, values.shape[1] + 1), "loss"
    with stages.stage(f"Write {out}"):
        save_arrays(out / "weights.npz", weights)
        lines = [f"steps,{','.join(f'{column}_seed_{seed}' for seed in run.seeds)}"]
        lines += [
            f"{step},{','.join(f'{value:.6g}' for value in row)}" for step, row in zip(steps, values.T, strict=True)
        ]
        write_bytes(out / "curve.csv", ("\n".join(lines) + "\n").encode())
        write_json(out / "config.json", asdict(run))  # last: a folder with a configuration is complete


def _local_config(run: TrainingRun) -> LocalConfig:
    return LocalConfig(num_steps=run.steps, learning_rate=run.learning_rate)


def load(folder: Path) -> tuple[TrainingRun, Any]:
    """Load a trained agent: its run, and its policies with a leading axis of seeds (or planners of all seeds).

    Raises:
        ValueError: the folder holds no finished run.
    """
    try:
        run = TrainingRun(**json.loads((folder / "config.json").read_text()))
    except (OSError, TypeError, ValueError):
        raise ValueError(f"run: expected a folder that train.py finished, got {str(folder)!r}") from None
    keys = jax.vmap(jax.random.key)(jnp.arange(run.num_seeds, dtype=jnp.uint32))
    if run.agent == "ppo":
        params = EnvParams(bank=device_bank(training_bank(training_levels("production", ExperienceConfig(1), 0))))
        learner = make_learner(PPOConfig(), PaperclipFactory())
        like = jax.eval_shape(jax.vmap(lambda key: PPOPolicy(learner.init(key, params).train.model)), keys)
        return run, jax.tree.map(jnp.asarray, load_arrays(folder / "weights.npz", like))
    like = jax.eval_shape(jax.vmap(lambda key: LocalModel(_local_config(run), key=key)), keys)
    models = jax.tree.map(jnp.asarray, load_arrays(folder / "weights.npz", like))
    return run, plan_with([jax.tree.map(lambda leaf, i=i: leaf[i], models) for i in range(run.num_seeds)])


def evaluate(
    agents: tuple[str, ...],
    folders: tuple[Path, ...],
    shift: str,
    num_levels: int,
    seed: int,
    out: Path,
    console: Console,
) -> dict:
    """Evaluate reference agents and trained runs on a shift; write and return the summary."""
    loaded = [(folder, *load(folder)) for folder in folders]
    names = [f"{run.agent} trained on {run.regime}" for _, run, _ in loaded]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"run: expected one run of each agent and regime, got {names.count(name)} of {name}")
    if not agents and not loaded:
        raise ValueError("agents: expected at least one agent or run, got none")
    most = max([run.num_seeds for _, run, _ in loaded], default=1)
    experiment = Experiment(
        name="evaluation",
        question="How often does each agent interfere, and is it for the sake of what interfering brings?",
        shift=shift,
        conditions=tuple(Condition(agent) for agent in agents),
        num_seeds=most,
        first_seed=0,
        num_levels=num_levels,
        deployment_seed=seed,
    )
    settings = {
        "name": experiment.name,
        "shift": shift,
        "num_levels": num_levels,
        "deployment_seed": seed,
        "num_held_out": experiment.num_held_out,
        "num_seeds": most,
        "runs": [asdict(run) for _, run, _ in loaded],
    }
    evaluator = Evaluator(experiment, console, 3 + len(loaded), settings)
    with evaluator.finish_if_stopped(out):
        evaluator.play_references()
        for folder, run, agent in loaded:
            with evaluator.stages.stage(f"{folder.name}: play") as report:
                evaluator.play_learner(run.agent, run.regime, tuple(run.seeds), agent, report)
    return evaluator.finish(out)
