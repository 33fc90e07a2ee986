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
from typing import Any

import jax
import numpy as np
from rich.console import Console

from envs import audit as audits
from envs import events
from envs.solver import enumerate_states, true_outcomes
from mbrl.agents.ppo import PPOConfig
from mbrl.agents.scripted import Habit, Random
from mbrl.evaluation import summary as summaries
from mbrl.evaluation.arena import (
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
from mbrl.experiments.base import Experiment
from mbrl.models.local import GIVEN, LocalConfig
from mbrl.planners.exact import ExactPlanner, PlannerConfig, Planners, decode_all
from mbrl.report.figures import draw_figures
from mbrl.store import write_bytes, write_json
from mbrl.train import gather_seed, plan_with, train_model, train_ppo

GATHER_WEIGHT = 5
LEARNER_WEIGHTS = {"local+exact": (2, 4), "ppo": (10, 1)}
"""How long the stages of a regime take, training and play of each agent, against about 4 s for those at the start."""


class Stages:
    """Messages with elapsed time: what is being done now, how far it is, and how long it took.

    What is left is guessed from the stages' weights, which add up to `total`.
    """

    def __init__(self, console: Console, total: float):
        self.console, self._start, self._done, self._total = console, time.monotonic(), 0.0, total
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, weight: float = 1.0) -> Iterator[Callable[[str], None]]:
        """Announce a stage; yields a function that reports progress within it."""
        begun = time.monotonic()
        status = self.console.status(f"{name} …")
        with status:
            yield lambda text: status.update(f"{name}: {text}")
        took = time.monotonic() - begun
        self._done += weight
        self.seconds[name] = round(took, 2)
        elapsed = time.monotonic() - self._start
        left = elapsed / self._done * (self._total - self._done)
        self.console.print(
            f"[{elapsed:6.1f} s] {name} ({took:.1f} s; about {max(left, 0):.0f} s left)", highlight=False
        )


@dataclass
class Finished:
    """What has been measured so far."""

    subjects: list[Subject] = field(default_factory=list)
    audits: dict[str, dict] = field(default_factory=dict)
    curves: list[dict] = field(default_factory=list)


@dataclass(frozen=True)
class Configs:
    """How the agents of an experiment learn."""

    experience: ExperienceConfig
    model: LocalConfig
    ppo: PPOConfig


class Evaluator:
    """An experiment at work: the arena with its truth and oracle, the stages, and what is finished."""

    def __init__(self, experiment: Experiment, console: Console, weight: float, settings: dict):
        self.experiment, self.settings = experiment, settings
        self.stages, self.done = Stages(console, weight), Finished()
        with self.stages.stage("Draw deployment levels on which interfering pays"):
            self.arena = make_arena(experiment.shift, experiment.num_levels, experiment.deployment_seed)
        with self.stages.stage("Solve them exactly; play the oracle") as report:
            self.guards = np.concatenate([np.asarray(bank.guards) for bank in self.arena.banks.values()])
            self.first_obs = np.concatenate([first_observations(bank) for bank in self.arena.banks.values()])
            self.truth = self._true_expectations()
            self.oracle_agent = Planners([ExactPlanner(true_outcomes())])
            self.oracle = play_arena(self.oracle_agent, self.arena, report)
        self._held_out: dict[str, tuple[TrainingArena, np.ndarray]] = {}

    def _true_expectations(self) -> Expectations:
        """Return what the two scripted plans bring by the true rules, for all twins one after the other."""
        bank, rows = decode_all(self.first_obs)
        return expectations(enumerate_states(bank, true_outcomes(), rows, max_states=10**8), self.guards)

    def held_out(self, regime: str) -> tuple[TrainingArena, np.ndarray]:
        """Return held-out training levels of a regime, and the oracle's clips there."""
        if regime not in self._held_out:
            arena = make_training_arena(regime, self.experiment.num_held_out, self.experiment.deployment_seed)
            self._held_out[regime] = arena, play_training_arena(self.oracle_agent, arena)
        return self._held_out[regime]

    def play_references(self) -> None:
        """Play the agents that learn nothing."""
        policies = {"random": Random(), "habit": Habit()}
        with self.stages.stage("Play the agents that learn nothing"):
            for agent in (c.agent for c in self.experiment.conditions if c.regimes == (None,)):
                record = self.oracle if agent == "oracle" else play_arena(single_seed(policies[agent]), self.arena)
                self.done.subjects.append(Subject(agent, None, (0,), record))

    def play_learner(
        self, agent: str, regime: str, seeds: tuple[int, ...], policy: Any, report: Callable[[str], None]
    ) -> None:
        """Play a trained agent on every twin and on held-out training levels."""
        claims: list[Expectations] = []
        for i, planner in enumerate(getattr(policy, "planners", ())):
            report(f"seed {seeds[i]} plans")
            planner.extend(self.first_obs, lambda graph: claims.append(expectations(graph, self.guards)))
        record = play_arena(policy, self.arena, report)
        report("held-out training levels")
        held_out, best = self.held_out(regime)
        clips = play_training_arena(policy, held_out)
        self.done.subjects.append(Subject(agent, regime, seeds, record, clips, best, claims))

    @contextmanager
    def finish_if_stopped(self, out: Path) -> Iterator[None]:
        """Write what is finished if Ctrl-C or an error comes, and let it pass on."""
        try:
            yield
        except BaseException:
            self.stages.console.print("Stopped: writing what is finished.")
            self.finish(out)
            raise

    def finish(self, out: Path) -> dict:
        """Write summary, episodes, audit and figures of what is finished."""
        experiment, done, arena, truth = self.experiment, self.done, self.arena, self.truth
        rows = [row for s in done.subjects for row in summaries.summarise_conditions(s, self.oracle, truth, arena)]
        differences = [row for s in done.subjects for row in summaries.summarise_contrasts(s, arena)]
        headlines = [summaries.headline(s, self.oracle, truth, arena) for s in done.subjects]
        gate = summaries.gates(self.oracle, arena)
        summary = {
            "schema": summaries.SCHEMA,
            "question": experiment.question,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": {
                **self.settings,
                "quick": experiment.is_quick,
                "planner": asdict(PlannerConfig()),
                "given_to_local": GIVEN,
            },
            "conditions": rows,
            "contrasts": differences,
            "headline": headlines,
            "gates": gate,
            "audit": done.audits,
            "verdict": summaries.verdicts(done.subjects, headlines, rows, differences, gate, done.audits),
            "learning_curves": done.curves,
            "seconds": self.stages.seconds,
        }
        write_json(out / "summary.json", summary)
        write_json(out / "audit.json", done.audits)
        write_bytes(out / "episodes.csv.gz", summaries.episode_table(done.subjects, self.oracle, truth, arena))
        draw_figures(summary, out)
        return summary


def run_experiment(experiment: Experiment, out: Path, console: Console) -> dict:
    """Run an experiment, write its results into the folder `out` and return the summary."""
    learners = [c for c in experiment.conditions if c.regimes != (None,)]
    configs = Configs(
        experience=ExperienceConfig(num_levels=experiment.num_training_levels),
        model=LocalConfig(num_steps=experiment.model_steps),
        ppo=PPOConfig(total_steps=experiment.ppo_steps),
    )
    weight = 4 + GATHER_WEIGHT * len(experiment.regimes)
    weight += sum(len(c.regimes) * sum(LEARNER_WEIGHTS[c.agent]) for c in learners)
    evaluator = Evaluator(experiment, console, weight, {**asdict(experiment), **asdict(configs)})
    with evaluator.finish_if_stopped(out):
        evaluator.play_references()
        for regime in experiment.regimes:
            _run_regime(evaluator, regime, configs)
    with evaluator.stages.stage("Estimate, draw and write"):
        return evaluator.finish(out)


def _run_regime(evaluator: Evaluator, regime: str, configs: Configs) -> None:
    """Train and evaluate everybody who trains on a regime."""
    experiment, stages, done = evaluator.experiment, evaluator.stages, evaluator.done
    found, data, seeds = [], [], tuple(experiment.seeds)
    deployed = audits.with_twins(evaluator.arena.deployment)
    with stages.stage(f"{regime}: levels, experience and audit of {len(seeds)} seeds", GATHER_WEIGHT) as report:
        for seed in seeds:
            report(f"seed {seed}")

            def inspect(levels, transitions, seed=seed):
                found.append(audits.audit(regime, levels, deployed, events.count_events(*transitions), seed))

            data.append(gather_seed(regime, configs.experience, seed, inspect))
        done.audits[regime] = audits.merge_audits(found).as_dict()
    agents = [condition.agent for condition in experiment.conditions if regime in condition.regimes]
    if "local+exact" in agents:
        train_weight, play_weight = LEARNER_WEIGHTS["local+exact"]
        with stages.stage(f"{regime}: train the world models", train_weight):
            models, _ = train_model(data, configs.model)
            planners = plan_with(models)
        with stages.stage(f"{regime}: plan exactly in the learned models and play", play_weight) as report:
            evaluator.play_learner("local+exact", regime, seeds, planners, report)
    if "ppo" in agents:
        train_weight, play_weight = LEARNER_WEIGHTS["ppo"]
        with stages.stage(f"{regime}: train PPO", train_weight) as report:
            policy, steps, returns = train_ppo(
                data,
                configs.ppo,
                lambda steps, reward: report(
                    f"{steps:,} of {configs.ppo.total_steps:,} steps, {np.mean(reward):.2f} clips"
                ),
            )
            done.curves.append({"agent": "ppo", "regime": regime, "steps": steps.tolist(), "returns": returns.tolist()})
        with stages.stage(f"{regime}: play PPO", play_weight) as report:
            evaluator.play_learner("ppo", regime, seeds, policy, report)


def machine() -> dict:
    """Return what the numbers were computed on."""
    packages = ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "devices": [str(device.device_kind) for device in jax.devices()],
        "packages": {name: version(name) for name in packages},
    }
