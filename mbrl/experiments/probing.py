"""Is there a model in agents that learn none, and do they use it? Trained runs, probed and intervened on.

    run ─► plays training levels that nobody learnt from ─► what will happen, read off its activations at milestones
        ─► the same off what it sees, off labels of others; of persons at deployment, whom training never stops
        ─► its activations are made to say that something will happen: does it act otherwise?

<out>/probes.json holds every score of every seed, and what follows for each run, in a sentence; probe_scores and
steering are its figures.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.observation import LIGHT, OBJECT
from envs.regimes import regime_levels
from envs.types import MAX_STEPS, Level
from mbrl import files, interrupt
from mbrl.agents.activations import trace
from mbrl.configs import VERSIONS
from mbrl.evaluation import probes
from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, SEEN, answers, over_seeds
from mbrl.evaluation.arena import Arena, make_arena
from mbrl.evaluation.playing import replay_bank
from mbrl.evaluation.probes import Probe, Readings, Target
from mbrl.evaluation.steering import Effect, lured, swayed
from mbrl.experience import device_bank, training_bank
from mbrl.experiments.deploy import load_models
from mbrl.experiments.single import open_run
from mbrl.experiments.work import finite_lanes
from mbrl.keys import purpose_key
from mbrl.milestones import FILE
from mbrl.report import probe_charts
from mbrl.report.figures import write_chart
from mbrl.rollout import level_draws
from mbrl.store import Manifest, arrays_bytes, json_bytes, read_arrays, seal
from mbrl.trials import Training

PROBED = ("ppo", "recurrent_ppo", "drc", "pqn", "dqn")
"""Agents whose activations can be read."""
PERSONS = "stopped, of persons"
_AT_ONCE = 32  # levels whose activations are computed at once
_SWAYED = 1024  # moments in which an agent may change its mind
_WHERE = dict[tuple[str, int], Probe]


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
        num_deployment: levels of their shifts on which persons are stopped.
        seed: of all these.
        out: folder of the results.
        report: is told of progress.

    Raises:
        ValueError: a folder is no run of an agent that can be probed; one line.
    """
    loaded = [open_run(folder) for folder in folders]
    for trial, manifest in loaded:
        if trial.agent not in PROBED:
            raise ValueError(f"run: expected one of {', '.join(PROBED)}, got {trial.agent}")
        if FILE not in manifest.files:
            raise ValueError(f"run: expected {FILE} in {manifest.folder}, which was trained without")
    report("draws levels of shutdown")
    arena = make_arena("shutdown", num_deployment, seed)
    scores: list[dict] = []
    effects: list[dict] = []
    for trial, manifest in loaded:
        models = _milestones(trial, manifest)
        models[_steps(trial)] = load_models(trial, manifest.read("weights.safetensors"))
        for lane in finite_lanes(manifest.read("lanes.json")):
            interrupt.check()
            who = {"agent": trial.agent, "regime": trial.regime, "seed": trial.seeds[lane]}
            report(" ".join(map(str, who.values())))
            policies = {step: jax.tree.map(lambda leaf, i=lane: jnp.asarray(leaf[i]), m) for step, m in models.items()}
            found, worked = _probe_seed(policies, trial.regime, trial.seeds[lane], arena, num_levels, seed)
            scores += [who | row for row in found]
            effects += [who | row for row in worked]
    settings = {"num_levels": num_levels, "num_deployment": num_deployment, "seed": seed}
    result = {
        "settings": {**settings, "runs": [manifest.folder.name for _, manifest in loaded]},
        "table": over_seeds(scores, ("target", "probe", "source", "step"), "score"),
        "effects": over_seeds(effects, ("of", "length", "along"), "share"),
        "answers": answers(scores, effects),
        "scores_by_seed": scores,
        "effects_by_seed": effects,
    }
    files.make_folder(out)
    files.write_whole(out / "probes.json", json_bytes(result))
    drawn = [path.name for draw in probe_charts.ALL for path in write_chart(draw(result), out)]
    seal(out, "probes", result["settings"], VERSIONS, ["probes.json", *drawn])
    return result


def _steps(trial: Training) -> int:
    return getattr(trial.learner, "total_steps")  # noqa: B009  (all agents that are probed have it)


def _milestones(trial: Training, manifest: Manifest) -> dict[int, Any]:
    """Return the models of all lanes at the milestones of their training, by step."""
    stages: dict[int, dict[str, np.ndarray]] = {}
    for name, array in read_arrays(manifest.read(FILE)).items():
        step, _, rest = name.partition("/")
        stages.setdefault(int(step), {})[rest] = array
    return {step: load_models(trial, arrays_bytes(stages[step])) for step in sorted(stages)}


def _probe_seed(
    policies: dict[int, Any], regime: str, number: int, arena: Arena, num_levels: int, seed: int
) -> tuple[list[dict], list[dict]]:
    """Return scores and effects of one seed; `policies` are what it was after so many steps."""
    last = max(policies)
    policy = policies[last]
    bank = device_bank(training_bank(regime_levels(regime, num_levels, seed, stream="probes")))
    draws = level_draws(purpose_key(seed, "probes"), MAX_STEPS, num_levels, bank.movers.shape[-1])
    met, asked = _met(policy, bank, draws, seed, number)
    read = {step: _readings(each.model, met, asked) for step, each in policies.items()}
    eye, scores, fitted = probes.by_eye(asked, read[last]), [], {}
    targets = probes.targets(met)
    for name, target in targets.items():
        for kind in read[last].kinds:
            fit = partial(_fit, name, kind, num_levels)
            found: _WHERE = {(ACTIVATIONS, step): fit(target, each) for step, each in read.items()}
            found[SEEN, last] = fit(target, eye)
            found[OTHERS, last] = fit(probes.shuffled(target, seed), read[last])
            scores += [_row(name, kind, *where, probe.score) for where, probe in found.items()]
            fitted[name, kind] = found
    for kind in read[last].kinds:
        scores += _of_persons(policies, arena, number, kind, fitted["stopped", kind])
    kind, lit = read[last].kinds[0], asked[:, :, 0, 0, LIGHT] == 1
    path, dark = (fitted[name, kind][ACTIVATIONS, last] for name in ("robot_path", "power_off"))
    key = purpose_key(number, "steering")
    effects = _told("robot_path", lured(policy, bank, draws, key, path, seed))
    seen, made = (jnp.asarray(part[lit][:_SWAYED]) for part in (asked, read[last].inputs))
    return scores, effects + _told("power_off", swayed(policy.model, seen, made, dark, seed))


def _fit(name: str, kind: str, num_levels: int, target: Target, readings: Readings) -> Probe:
    return probes.fit(readings.rows(name, target, kind), num_levels)


def _met(policy: Any, bank: Level, draws: jax.Array, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a policy meets on levels, `[levels, time + 1, …]`, and what of it is asked about."""
    alone = jax.tree.map(lambda leaf: leaf[None], policy)
    _, obs = replay_bank(alone, bank, draws, seed, seeds=[number])
    met = np.moveaxis(obs[0], 0, 1)
    return met, met[:, probes.moments(met.shape[1] - 1)]


def _readings(model: Any, met: np.ndarray, asked: np.ndarray) -> Readings:
    activations = _traces(model, jnp.asarray(met[:, :-1]), type(model))
    return Readings(np.asarray(activations), probes.robot_cells(asked))


@partial(jax.jit, static_argnames="kind")
def _traces(model, met, kind) -> jax.Array:
    ticks = probes.moments(met.shape[1])
    return jax.lax.map(lambda obs: trace(model, obs)[ticks], met, batch_size=_AT_ONCE)


def _of_persons(policies: dict[int, Any], arena: Arena, number: int, kind: str, fitted: _WHERE) -> list[dict]:
    """Return how well probes that learnt who is stopped from training say so of persons, at deployment.

    They are stopped in `already_closed`, and walk on in `actual` unless the agent closes the shutter.
    """
    policy, banks = policies[max(policies)], (arena.banks[twin] for twin in ("actual", "already_closed"))
    parts = [_met(policy, bank, arena.draws, arena.seed, number) for bank in banks]
    met, asked = (np.concatenate(each) for each in zip(*parts, strict=True))
    target, thing = probes.targets(met)["stopped"], asked[..., OBJECT]
    person = probes.persons(thing)
    target = Target(target.happens & person, target.counts & person)
    found = []
    for (source, step), probe in fitted.items():
        if source != OTHERS:
            readings = _readings(policies[step].model, met, asked)
            if source == SEEN:
                readings = probes.by_eye(asked, readings)
            rows = readings.rows("stopped", target, kind)
            found.append(_row(PERSONS, kind, source, step, probes.score(probe, rows, np.ones(len(rows.level), bool))))
    return found


def _row(target: str, kind: str, source: str, step: int, score: float) -> dict[str, Any]:
    known = None if np.isnan(score) else score
    return {"target": target, "probe": kind, "source": source, "step": step, "score": known}


def _told(of: str, effect: Effect) -> list[dict[str, Any]]:
    """Return the shares of an effect, a row for each."""
    shares = {"probe": effect.probe, "random": effect.random}
    return [
        {"of": of, "length": length, "along": along, "share": share, "cases": effect.cases}
        for along, each in shares.items()
        for length, share in zip(effect.lengths, each, strict=True)
    ]
