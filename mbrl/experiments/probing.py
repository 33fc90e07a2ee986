"""Is there a model in agents that learn none, and are they moved by it? Trained runs, probed and intervened on.

    run ─► plays training levels that nobody learnt from ─► what will happen, read off its activations at milestones
        ─► the same off what it sees and does, off labels of others; of persons at deployment, whom training never stops
        ─► its activations are made to say that something will happen: does it act otherwise?

<out>/probes.json holds every score of every seed, and what follows for each run, in a sentence; probe_scores and
steering are its figures.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.observation import LIGHT, OBJECT
from envs.regimes import regime_levels
from envs.types import MAX_STEPS, Level
from mbrl import files, interrupt
from mbrl.agents.activations import trace
from mbrl.agents.q_learning import GreedyPolicy
from mbrl.configs import VERSIONS
from mbrl.evaluation import probes, targets
from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, PERSONS, SEEN, answers, over_seeds
from mbrl.evaluation.arena import Arena, make_arena
from mbrl.evaluation.playing import replay_bank
from mbrl.evaluation.probes import Probe, Readings
from mbrl.evaluation.steering import LENGTHS, Effect, lured, swayed
from mbrl.evaluation.targets import Target
from mbrl.experience import device_bank, training_bank
from mbrl.experiments.deploy import load_models
from mbrl.experiments.single import open_run
from mbrl.experiments.work import finite_lanes
from mbrl.keys import purpose_key
from mbrl.report import probe_charts
from mbrl.report.figures import write_chart
from mbrl.rollout import level_draws
from mbrl.store import MILESTONES, Manifest, arrays_bytes, json_bytes, read_arrays, seal
from mbrl.trials import Training

PROBED = ("ppo", "recurrent_ppo", "drc", "pqn", "dqn")
"""Agents whose activations can be read."""
_AT_ONCE = 32  # levels whose activations are computed at once
_SWAYED = 1024  # moments in which an agent may change its mind


class Met(NamedTuple):
    """What a policy meets on levels, `[levels, time + 1, …]`, and the moments of it that are asked about."""

    obs: np.ndarray
    asked: np.ndarray


def probe_runs(
    folders: Sequence[Path],
    num_levels: int,
    num_deployment: int,
    seed: int,
    out: Path,
    report: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Probe runs, write what was found and return it.

    Args:
        folders: of finished runs.
        num_levels: training levels on which they are probed, half of them to learn from.
        num_deployment: levels of the shift `shutdown` on which persons are stopped.
        seed: of all these.
        out: folder of the results.
        report: is told of progress.

    Raises:
        ValueError: a folder is no run of an agent that can be probed, or two have a seed in common; one line.
    """
    loaded = [open_run(folder) for folder in folders]
    names = [(trial.agent, trial.regime, seed) for trial, _ in loaded for seed in trial.seeds]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        agent, regime, number = twice[0]
        raise ValueError(f"run: expected every seed of an agent and regime once, got {agent} {regime} {number} twice")
    for trial, manifest in loaded:
        if trial.agent not in PROBED:
            raise ValueError(f"run: expected one of {', '.join(PROBED)}, got {trial.agent}")
        if MILESTONES not in manifest.files:
            raise ValueError(f"run: {manifest.folder} kept no {MILESTONES}: train it again, with another --runs")
    report("draws levels of shutdown")
    arena = make_arena("shutdown", num_deployment, seed)
    levels = cache(lambda regime: device_bank(training_bank(regime_levels(regime, num_levels, seed, stream="probes"))))
    scores: list[dict] = []
    effects: list[dict] = []
    for trial, manifest in loaded:
        models = _milestones(trial, manifest)
        for lane in finite_lanes(manifest.read("lanes.json")):
            interrupt.check()
            who = {"agent": trial.agent, "regime": trial.regime, "seed": trial.seeds[lane]}
            report(" ".join(map(str, who.values())))
            policies = {step: jax.tree.map(lambda leaf, i=lane: jnp.asarray(leaf[i]), m) for step, m in models.items()}
            found, worked = _probe_seed(policies, trial.regime, trial.seeds[lane], levels(trial.regime), arena, seed)
            scores += [who | row for row in found]
            effects += [who | row for row in worked]
    settings = {"num_levels": num_levels, "num_deployment": num_deployment, "seed": seed}
    result = {
        "settings": {**settings, "runs": [manifest.folder.name for _, manifest in loaded]},
        "table": over_seeds(scores, ("target", "probe", "source", "step"), "score"),
        "effects": over_seeds(effects, ("of", "probe", "length", "along"), "share"),
        "answers": answers(scores, effects),
        "scores_by_seed": scores,
        "effects_by_seed": effects,
    }
    files.make_folder(out)
    files.write_whole(out / "probes.json", json_bytes(result))
    drawn = [path.name for draw in probe_charts.ALL for path in write_chart(draw(result), out)]
    seal(out, "probes", result["settings"], VERSIONS, ["probes.json", *drawn])
    return result


def _milestones(trial: Training, manifest: Manifest) -> dict[int, Any]:
    """Return the models of all lanes by steps of training: nothing learnt, at milestones, and at last.

    Raises:
        ValueError: those that had learnt nothing were not kept.
    """
    stages: dict[int, dict[str, np.ndarray]] = {}
    for name, array in read_arrays(manifest.read(MILESTONES)).items():
        step, _, rest = name.partition("/")
        stages.setdefault(int(step), {})[rest] = array
    if 0 not in stages:
        raise ValueError(f"run: {MILESTONES} of {manifest.folder} does not begin at 0: train it again, in other --runs")
    config: Any = trial.learner
    found = {step: load_models(trial, arrays_bytes(stages[step])) for step in sorted(stages)}
    last = config.num_updates * config.num_envs * config.num_steps
    return {**found, last: load_models(trial, manifest.read("weights.safetensors"))}


def _probe_seed(
    policies: dict[int, Any], regime: str, number: int, bank: Level, arena: Arena, seed: int
) -> tuple[list[dict], list[dict]]:
    """Return scores and effects of one seed; `policies` are what it was after so many steps."""
    last, num_levels = max(policies), len(bank.movers)
    policy = policies[last]
    draws = level_draws(purpose_key(seed, "probes"), MAX_STEPS, num_levels, bank.movers.shape[-1])
    met = _met(policy, bank, draws, seed, number)
    read = _read(policies, met)
    scores, fitted = [], {}
    for name, target in targets.targets(met.obs).items():
        for kind, asked in read[ACTIVATIONS, last].asked(name, target).items():
            fit = partial(_fit, kind, num_levels)
            found = {where: fit(asked, each) for where, each in read.items()}
            others = fit(targets.shuffled(asked, seed), read[ACTIVATIONS, last])
            scores += [_row(name, kind, where, probe.score) for where, probe in found.items()]
            scores.append(_row(name, kind, (OTHERS, last), others.score))
            fitted[name, kind] = found
    if not regime.startswith("open"):  # where persons are stopped
        scores += _of_persons(policies, arena, number, fitted)
    made = read[ACTIVATIONS, last].inputs
    return scores, _effects(policy, bank, draws, met.asked, made, fitted, last, number, seed)


def _fit(kind: str, num_levels: int, target: Target, readings: Readings) -> Probe:
    return probes.fit(readings.rows(kind, target), num_levels)


def _met(policy: Any, bank: Level, draws: jax.Array, seed: int, number: int) -> Met:
    alone = jax.tree.map(lambda leaf: leaf[None], policy)
    _, obs = replay_bank(alone, bank, draws, seed, seeds=[number])
    met = np.moveaxis(obs[0], 0, 1)
    return Met(met, met[:, targets.moments(met.shape[1] - 1)])


def _readings(policy: Any, met: Met) -> tuple[Readings, np.ndarray]:
    """Return what is read off activations, and what the agent decides, as probabilities."""
    activations, logits = _traces(policy.model, jnp.asarray(met.obs[:, :-1]), type(policy.model))
    greedy = isinstance(policy, GreedyPolicy)
    decisions = jax.nn.one_hot(logits.argmax(-1), logits.shape[-1]) if greedy else jax.nn.softmax(logits)
    return Readings(np.asarray(activations), targets.robot_cells(met.asked)), np.asarray(decisions)


@partial(jax.jit, static_argnames="kind")
def _traces(model, met, kind) -> tuple[jax.Array, jax.Array]:
    ticks = targets.moments(met.shape[1])
    asked = lambda obs: jax.tree.map(lambda leaf: leaf[ticks], trace(model, obs))  # noqa: E731
    return jax.lax.map(asked, met, batch_size=_AT_ONCE)


def _read(policies: dict[int, Any], met: Met) -> dict[tuple[str, int], Readings]:
    """Return what is read off activations after so many steps, and, as a control, what the agent sees and does."""
    found, last = {step: _readings(each, met) for step, each in policies.items()}, max(policies)
    readings, decisions = found[last]
    control = probes.by_eye(met.asked, decisions, readings)
    return {(ACTIVATIONS, step): each for step, (each, _) in found.items()} | {(SEEN, last): control}


def _of_persons(policies: dict[int, Any], arena: Arena, number: int, fitted: dict[tuple, dict]) -> list[dict]:
    """Return how well probes that learnt who is stopped from training say so of persons, at deployment.

    They are stopped in `already_closed`, and walk on in `actual` unless the agent closes the shutter.
    """
    policy, found = policies[max(policies)], []
    banks = (arena.banks[twin] for twin in ("actual", "already_closed"))
    parts = [_met(policy, bank, arena.draws, arena.seed, number) for bank in banks]
    met = Met(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    target, person = targets.targets(met.obs)["stopped"], targets.persons(met.asked[..., OBJECT])
    target = Target(target.happens & person, target.counts & person)
    read = _read(policies, met)
    for (name, kind), by_source in fitted.items():
        if name == "stopped":
            for where, probe in by_source.items():
                rows = read[where].rows(kind, read[where].asked(name, target)[kind])
                score = probes.score(probe, rows, np.ones(len(rows.level), bool))
                found.append(_row(PERSONS, kind, where, score))
    return found


def _effects(
    policy, bank, draws, seen, made, fitted: dict[tuple, dict], last: int, number: int, seed: int
) -> list[dict]:
    """Return what nudging does, along probes of the robot's path and of the dark, where these were tested."""
    first = lambda name: next(key for key in fitted if key[0] == name)  # noqa: E731
    (path, kind), (dark, other) = first("robot_path"), first("power_off")
    tests = slice(3 * len(seen) // 4, None)
    bank, draws = jax.tree.map(lambda leaf: leaf[tests], bank), draws[:, tests]
    probe = fitted[path, kind][ACTIVATIONS, last]
    told = _told(path, kind, lured(policy, bank, draws, purpose_key(number, "steering"), probe, seed))
    seen, made = seen[tests], made[tests]
    where = np.argwhere(seen[:, :, 0, 0, LIGHT] == 1)
    where = where[np.unique(np.linspace(0, len(where) - 1, _SWAYED).astype(int))] if len(where) else where
    seen, made = (jnp.asarray(part[tuple(where.T)]) for part in (seen, made))
    return told + _told(dark, other, swayed(policy.model, seen, made, fitted[dark, other][ACTIVATIONS, last], seed))


def _row(target: str, kind: str, where: tuple[str, int], score: float) -> dict[str, Any]:
    (source, step), known = where, None if np.isnan(score) else score
    return {"target": target, "probe": kind, "source": source, "step": step, "score": known}


def _told(of: str, kind: str, effect: Effect) -> list[dict[str, Any]]:
    """Return the shares of an effect, a row for each."""
    return [
        {"of": of, "probe": kind, "length": length, "along": along, "share": share, "cases": effect.cases}
        for along, shares in (("probe", effect.probe), ("random", effect.random))
        for length, share in zip(LENGTHS, shares, strict=True)
    ]
