"""Runs an experiment from its declaration to its results: levels, gates, audit, training, evaluation, summary.

    arena ─► oracle, truth, gate ─► for each regime: experience ─► audit ─► train ─► play every twin ─► summary, figures

Whatever is finished when Ctrl-C comes is written.
"""

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from envs import audit as audits
from envs.solver import enumerate_states, true_outcomes
from mbrl.agents.ppo import PPOConfig
from mbrl.agents.scripted import Habit, Random
from mbrl.evaluation import summary as summaries
from mbrl.evaluation.arena import (
    Arena,
    Record,
    TrainingArena,
    first_observations,
    make_arena,
    make_training_arena,
    play_arena,
    play_training_arena,
    single_seed,
)
from mbrl.evaluation.knowledge import Expectations, expectations
from mbrl.evaluation.summary import Subject
from mbrl.experience import ExperienceConfig
from mbrl.experiments.base import Condition, Experiment
from mbrl.models.local import GIVEN, LocalConfig
from mbrl.planners.exact import ExactPlanner, PlannerConfig, Planners, decode_all
from mbrl.report.figures import curve_figure, interference_figure
from mbrl.store import write_bytes, write_json
from mbrl.train import SeedData, gather_seed, plan_with, train_model, train_ppo


class Stages:
    """Messages with elapsed time: what is being done now, how far it is, and how long it took."""

    def __init__(self, console: Console, total: int):
        self._console, self._start, self._done, self._total = console, time.monotonic(), 0, total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Announce a stage; yields a function that reports progress within it."""
        begun = time.monotonic()
        status = self._console.status(f"{name} …")
        with status:
            yield lambda text: status.update(f"{name}: {text}")
        took = time.monotonic() - begun
        self._done += 1
        self.seconds[name] = round(took, 2)
        elapsed = time.monotonic() - self._start
        left = elapsed / self._done * (self._total - self._done)
        self._console.print(f"[{elapsed:6.1f} s] {name} ({took:.1f} s; about {max(left, 0):.0f} s left)", highlight=False)


@dataclass
class Finished:
    """What has been measured so far."""

    subjects: list[Subject] = field(default_factory=list)
    audits: dict[str, dict] = field(default_factory=dict)
    curves: list[dict] = field(default_factory=list)


def run_experiment(experiment: Experiment, out: Path, console: Console) -> dict:
    """Run an experiment, write its results into the folder `out` and return the summary."""
    learners = sum(len(c.regimes) for c in experiment.conditions if c.regimes != (None,))
    stages = Stages(console, 5 + 2 * len(experiment.regimes) + 2 * learners)
    done = Finished()
    with stages.stage("Draw deployment levels on which interfering pays"):
        arena = make_arena(experiment.shift, experiment.num_levels, experiment.deployment_seed)
    with stages.stage("Solve them exactly; play the oracle") as report:
        truth = true_expectations(arena)
        oracle_agent = Planners([ExactPlanner(true_outcomes())])
        oracle = play_arena(oracle_agent, arena, report)
    try:
        with stages.stage("Play the agents that learn nothing"):
            for condition in experiment.conditions:
                if condition.regimes == (None,):
                    done.subjects.append(_reference(condition.agent, arena, oracle))
        for regime in experiment.regimes:
            _run_regime(experiment, regime, arena, oracle_agent, stages, done)
    except KeyboardInterrupt:
        console.print("Interrupted: writing what is finished.")
        finish(experiment, out, arena, oracle, truth, done, stages)
        raise
    with stages.stage("Estimate, draw and write"):
        summary = finish(experiment, out, arena, oracle, truth, done, stages)
    return summary


def _reference(agent: str, arena: Arena, oracle: Record) -> Subject:
    """Play an agent that learns nothing."""
    if agent == "oracle":
        return Subject(agent, None, (0,), oracle)
    policy = {"random": Random(), "habit": Habit()}[agent]
    return Subject(agent, None, (0,), play_arena(single_seed(policy), arena))


def true_expectations(arena: Arena) -> Expectations:
    """Return what the two scripted plans bring by the true rules, for all twins one after the other."""
    obs = np.concatenate([first_observations(bank) for bank in arena.banks.values()])
    bank, rows = decode_all(obs)
    return expectations(enumerate_states(bank, true_outcomes(), rows, max_states=10**8), _guards(arena))


def _guards(arena: Arena) -> np.ndarray:
    return np.concatenate([np.asarray(bank.guards) for bank in arena.banks.values()])


def _run_regime(
    experiment: Experiment, regime: str, arena: Arena, oracle_agent: Planners, stages: Stages, done: Finished
) -> None:
    """Train and evaluate everybody who trains on a regime."""
    found, data = [], []
    config = ExperienceConfig(num_levels=experiment.num_training_levels)
    deployed = audits.with_twins(arena.deployment)
    with stages.stage(f"{regime}: levels, experience and audit of {experiment.num_seeds} seeds") as report:
        for seed in experiment.seeds:
            report(f"seed {seed}")

            def inspect(levels, transitions, seed=seed):
                counts = audits.count_events(*transitions)
                found.append(audits.audit(regime, levels, deployed, counts, seed))

            data.append(gather_seed(regime, config, seed, inspect))
        done.audits[regime] = audits.merge_audits(found).as_dict()
    with stages.stage(f"{regime}: held-out training levels, solved"):
        held_out = make_training_arena(regime, experiment.num_held_out, experiment.deployment_seed)
        best = play_training_arena(oracle_agent, held_out)
    for condition in experiment.conditions:
        if regime in condition.regimes:
            train_and_play = {"ppo": _run_ppo, "local+exact": _run_local}[condition.agent]
            train_and_play(experiment, condition, regime, data, arena, (held_out, best), stages, done)


def _run_local(
    experiment: Experiment, condition: Condition, regime: str, data: list[SeedData], arena: Arena,
    held_out: tuple[TrainingArena, np.ndarray], stages: Stages, done: Finished,
) -> None:  # fmt: skip
    with stages.stage(f"{regime}: train the world models"):
        models = train_model(data, LocalConfig(num_steps=experiment.model_steps))
    with stages.stage(f"{regime}: plan exactly in the learned models; play") as report:
        obs = np.concatenate([first_observations(bank) for bank in arena.banks.values()])
        agent, claims = plan_with(models), []
        for i, planner in enumerate(agent.planners):
            report(f"seed {experiment.seeds[i]} plans")
            planner.extend(obs, lambda graph: claims.append(expectations(graph, _guards(arena))))
        record = play_arena(agent, arena, report)
        clips = play_training_arena(agent, held_out[0])
    done.subjects.append(
        Subject(condition.agent, regime, tuple(experiment.seeds), record, clips, held_out[1], claims)
    )


def _run_ppo(
    experiment: Experiment, condition: Condition, regime: str, data: list[SeedData], arena: Arena,
    held_out: tuple[TrainingArena, np.ndarray], stages: Stages, done: Finished,
) -> None:  # fmt: skip
    with stages.stage(f"{regime}: train PPO") as report:
        policy, steps, returns = train_ppo(
            data,
            PPOConfig(total_steps=experiment.ppo_steps),
            lambda done, reward: report(f"{done:,} of {experiment.ppo_steps:,} steps, {np.mean(reward):.2f} an episode"),
        )
        done.curves.append({"agent": "ppo", "regime": regime, "steps": steps.tolist(), "returns": returns.tolist()})
    with stages.stage(f"{regime}: play PPO") as report:
        record = play_arena(policy, arena, report)
        clips = play_training_arena(policy, held_out[0])
    done.subjects.append(Subject(condition.agent, regime, tuple(experiment.seeds), record, clips, held_out[1]))


def finish(
    experiment: Experiment, out: Path, arena: Arena, oracle: Record, truth: Expectations, done: Finished, stages: Stages
) -> dict:
    """Write summary, episodes, audit and figures of what is finished."""
    rows = [row for s in done.subjects for row in summaries.summarise_conditions(s, oracle, truth, arena)]
    differences = [row for s in done.subjects for row in summaries.summarise_contrasts(s, arena)]
    headlines = [summaries.headline(s, oracle, truth, arena) for s in done.subjects]
    gate = summaries.gates(oracle, arena)
    summary = {
        "schema": summaries.SCHEMA,
        "question": experiment.question,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {
            **asdict(experiment),
            "quick": experiment.is_quick,
            "planner": asdict(PlannerConfig()),
            "model": asdict(LocalConfig(num_steps=experiment.model_steps)),
            "ppo": asdict(PPOConfig(total_steps=experiment.ppo_steps)),
            "experience": asdict(ExperienceConfig(num_levels=experiment.num_training_levels)),
            "given_to_local": GIVEN,
        },
        "conditions": rows,
        "contrasts": differences,
        "headline": headlines,
        "gates": gate,
        "audit": done.audits,
        "verdict": summaries.verdicts(done.subjects, headlines, rows, differences, gate, done.audits),
        "learning_curves": done.curves,
        "seconds": stages.seconds,
    }
    write_json(out / "summary.json", summary)
    write_json(out / "audit.json", done.audits)
    write_bytes(out / "episodes.csv.gz", summaries.episode_table(done.subjects, oracle, truth, arena))
    interference_figure(summary, out)
    curve_figure(done.curves, out)
    return summary


def machine() -> dict:
    """Return what the numbers were computed on."""
    packages = ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": [str(device.device_kind) for device in jax.devices()],
        "packages": {name: version(name) for name in packages},
    }
