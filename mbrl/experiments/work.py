"""What a trial does, from its configuration to the files it leaves; and how a worker goes about it.

    levels       levels.safetensors                 what is deployed on (drawing), or trained on (traininglevels)
    references   arena.json  scores.safetensors     the truth, and agents that learn nothing, on all levels
    audit        audit.json                         of the levels that seeds of a regime train on
    training     lanes.json  weights.safetensors  metrics.jsonl  scores.safetensors
    control      control.json                       what an agent earned on a gymnax environment

Each also leaves `record.json`: machine, versions, flags and times. Arrays are named "agent/twin/metric" and the like.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from envs import audit as audits
from envs.battery import Deployment
from envs.regimes import TASK, regime_levels
from envs.solver import enumerate_states, true_outcomes
from envs.types import Level
from mbrl import files, interrupt
from mbrl.advisers.planned import planner_of
from mbrl.agents.motives import SCRIPTED
from mbrl.checkpoint import Parts
from mbrl.cloning import HARDENING, train_clone
from mbrl.configs import ASKED, POLICIES, Options
from mbrl.control import control
from mbrl.devices import Devices
from mbrl.evaluation import arena as arenas
from mbrl.evaluation.arena import Arena
from mbrl.evaluation.knowledge import expectations
from mbrl.evaluation.playing import single_seed
from mbrl.experiments import deploy
from mbrl.experiments.deploy import first_and_guards, held_out_levels, named_scores
from mbrl.experiments.stored_levels import draw, read_deployment, read_levels
from mbrl.fingerprint import fingerprint
from mbrl.metrics import TensorBoard, WandB, Watcher, by_lane
from mbrl.milestones import named_arrays
from mbrl.plain import read_json
from mbrl.planners.exact import Planners, batches, decode_all
from mbrl.store import MILESTONES, RECORD, Manifest, Store, arrays_bytes, json_bytes, read_arrays
from mbrl.train import train_model, train_policy
from mbrl.training import Trained, Workplace
from mbrl.trials import Audit, Control, Drawing, References, Training, TrainingLevels, Trial
from mbrl.verification import reward_sums

Arrays = dict[str, np.ndarray]
DEFAULT_OPTIONS = Options()
LEVELS = "levels.safetensors"


@dataclass
class Times:
    """Seconds that the stages of a trial took, in this process."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str):
        """Add the time of a block to a stage."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + time.monotonic() - begun, 2)


def attempt(
    store: Store, trial: Trial, options: Options = DEFAULT_OPTIONS, report: Callable[[str], None] = lambda text: None
) -> Manifest | None:
    """Return a trial's manifest, after computing it if it is not finished; None if somebody else is at it.

    A finished trial that no longer verifies is set aside, which is reported, and computed again.
    """
    name = trial.identity
    with store.claim(name) as mine:
        if not mine:
            return None
        if store.has(name):
            try:
                manifest = store.verify(name)
                store.clear_work(name)
                return manifest
            except ValueError as error:
                report(f"{error}: moved to {store.set_aside(name)}, computed again")
        try:
            contents = compute(store, trial, options, report)
        except jax.errors.JaxRuntimeError:
            interrupt.check()  # Compiling for a GPU can fail of the signal that asks to stop.
            raise
        return store.commit(name, trial.config, trial.versions, contents)


def assist(trial: Training, options: Options) -> None:
    """Take part in the training of a trial on several hosts, whose leader writes and evaluates."""
    devices = Devices(options.devices)
    if devices.any(False):  # unless the leader has trained it already
        with tempfile.TemporaryDirectory() as folder:
            _train_agent(trial, Workplace(Path(folder), devices=devices, save_every=options.save_every))


def _train_agent(trial: Training, place: Workplace) -> Trained:
    if trial.agent == "clone":
        return train_clone(trial, place)
    return (train_policy if trial.agent in POLICIES else train_model)(trial, place)


def compute(store: Store, trial: Trial, options: Options, report: Callable[[str], None]) -> dict[str, bytes]:
    """Do what a trial says and return its files; parts that an earlier attempt finished on a like machine are used."""
    folder = store.workspace(trial.identity)
    _begin_anew_unless_alike(folder, report)
    times = Times()
    match trial:
        case Drawing() | TrainingLevels():
            with times.measure("levels"):
                report(f"draws {trial.label}")
                contents = {LEVELS: draw(trial)}
        case References():
            contents = _references(trial, store, report, times)
        case Audit():
            contents = _audit(trial, store, folder, report, times)
        case Control():
            with times.measure("control"), _watching(trial, folder, options) as watchers:
                place = Workplace(folder, report, watchers, save_every=options.save_every)
                contents = {"control.json": json_bytes(control(trial, place))}
            if (folder / "metrics.jsonl").exists():
                contents["metrics.jsonl"] = by_lane(files.read(folder / "metrics.jsonl"))
        case Training():
            if trial != trial.alone:
                take_over(store, trial.alone.identity, Parts(folder, report), report)
            contents = _train(trial, store, folder, options, report, times)
    record: dict[str, Any] = {
        "label": trial.label,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": times.seconds,
        "fingerprint": fingerprint(),
    }
    if "scores.safetensors" in contents:
        record["reward_sums"] = reward_sums(read_arrays(contents["scores.safetensors"]))
    return contents | {RECORD: json_bytes(record)}


def _begin_anew_unless_alike(folder: Path, report: Callable[[str], None]) -> None:
    """Remove what an attempt on another kind of machine, or by other code, left: numbers of two kinds never mix."""
    parts, mine = Parts(folder), json_bytes(fingerprint())
    found = parts.get("fingerprint.json")
    if found is not None and found != mine:
        report("another machine or version had begun it: begins anew")
        files.remove(folder)
    if found != mine:
        parts.put("fingerprint.json", mine)


def training_levels(store: Store, report, regime: str, num_levels: int, seed: int) -> list[Level]:
    """Return the levels that a seed trains on, drawn now unless they are in the store; waits for whoever is at it.

    What another machine or version has drawn is left alone, and hosts that train together all draw.
    """
    if jax.process_count() == 1:
        trial = TrainingLevels(None, True, regime.removesuffix(TASK), num_levels, seed)
        manifest = finished(store, trial, report=report)
        if manifest.read_json(RECORD)["fingerprint"] == fingerprint():
            return read_levels(manifest.read(LEVELS))
    return regime_levels(regime, num_levels, seed)


def drawn_levels(store: Store, trial: Drawing, report: Callable[[str], None] = lambda text: None) -> Deployment:
    """Return the levels of a drawing, made now unless they are in the store; waits for whoever is at it."""
    return read_deployment(trial.evaluation.shift, finished(store, trial, report=report).read(LEVELS))


def finished(
    store: Store, trial: Trial, options: Options = DEFAULT_OPTIONS, report: Callable[[str], None] = lambda text: None
) -> Manifest:
    """Return the manifest of a trial, which is computed now unless it is in the store; waits for whoever is at it."""
    while (manifest := attempt(store, trial, options, report)) is None:
        report(f"waits for {trial.label}")
        interrupt.check()
        time.sleep(0.5)
    return manifest


def make_arena(store: Store, trial: Trial, report: Callable[[str], None] = lambda text: None) -> Arena:
    """Return where a trial's agents are deployed."""
    return arenas.arena_of(drawn_levels(store, Drawing(trial.evaluation), report), trial.evaluation.seed)


def _references(trial: References, store: Store, report, times: Times) -> dict[str, bytes]:
    arrays: Arrays = {}
    oracle = Planners([planner_of("oracle", trial.planner)])
    about = {}
    if trial.evaluation.shift is not None:
        with times.measure("levels"):
            arena = make_arena(store, trial, report)
        with times.measure("truth"):
            report("solves them exactly")
            first, *marks = first_and_guards(arena)
            for name, values in _true_expectations(first, *marks).items():
                arrays[f"truth/{name}"] = values
        with times.measure("play"):
            report("plays the agents that learn nothing")
            for name in trial.agents:
                agent: Any = oracle if name == "oracle" else Planners([planner_of(name, trial.planner)])
                if name in SCRIPTED:
                    agent = single_seed(SCRIPTED[name])
                arrays |= named_scores(f"{name}/", arenas.play_arena(agent, arena, report))
                interrupt.check()
        about = asdict(arena.facts)
    with times.measure("held-out levels"):
        for regime in trial.regimes:
            report(f"held-out levels of {regime}")
            played = arenas.play_training_arena(
                oracle, arenas.unmasked(held_out_levels(regime, trial.evaluation.num_held_out, trial.evaluation.seed))
            )
            arrays[f"held_out/{regime}"] = played["clips"]
    return {"arena.json": json_bytes(about), "scores.safetensors": arrays_bytes(arrays)}


def _true_expectations(obs: np.ndarray, *marks: np.ndarray) -> Arrays:
    """Return what the true rules expect of the two scripted plans, from all observations."""
    found = []
    for place in batches(len(obs)):
        bank, rows = decode_all(obs[place])
        graph = enumerate_states(bank, true_outcomes(), rows, max_states=10**8)
        found.append(vars(expectations(graph, *(mark[place] for mark in marks))))
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _audit(trial: Audit, store: Store, folder: Path, report, times: Times) -> dict[str, bytes]:
    """Audit the levels of every seed: all parts but the counts, which are those of what agents learnt from."""
    parts = Parts(folder, report)
    with times.measure("levels"):
        shifts = [replace(trial.evaluation, shift=shift) for shift in (trial.evaluation.shift, *trial.also)]
        drawn = [drawn_levels(store, Drawing(each), report) for each in shifts]
        deployed = [level for deployment in drawn for level in audits.with_twins(deployment)]
    found = []
    with times.measure("audit"):
        for seed in trial.seeds:
            report(f"seed {seed}")
            interrupt.check()
            levels = training_levels(store, report, trial.regime, trial.num_levels, seed)

            def work(levels=levels) -> bytes:
                parts = audits.audit_levels(levels, deployed, trial.num_enumerated)
                return json_bytes({name: asdict(part) for name, part in parts.items()})

            found.append({"seed": seed, "parts": read_json(parts.make(f"audit-{seed}.json", work))})
    return {"audit.json": json_bytes(found)}


def finite_lanes(lanes: bytes) -> list[int]:
    """Return the numbers of the lanes whose numbers stayed finite."""
    return [i for i, lane in enumerate(read_json(lanes)) if lane["first_bad_step"] is None]


def failed_in_either(lanes: bytes, others: bytes) -> bytes:
    """Return lanes, those marked whose own numbers, or those of whom they ask, stopped being finite."""
    marked = read_json(lanes)
    for lane, other in zip(marked, read_json(others), strict=True):
        if lane["first_bad_step"] is None:
            lane["first_bad_step"] = other["first_bad_step"]
    return json_bytes(marked)


TRAINED = {"metrics.jsonl": "curve.jsonl", "weights.safetensors": "weights.safetensors", "lanes.json": "lanes.json"}
"""The files that training leaves, and the parts in which they wait for the evaluation."""
ON_THE_WAY = (HARDENING, MILESTONES)
"""Files that some training leaves besides."""


def take_over(store: Store, name: str, parts: Parts, report: Callable[[str], None]) -> None:
    """Take what training left in a finished trial of a like machine; one that is damaged is named and left alone."""
    if store.has(name):
        try:
            manifest = store.verify(name)
        except ValueError as error:
            report(f"{error}: trains anew")
            return
        if manifest.read_json(RECORD)["fingerprint"] == fingerprint():
            hand_over(manifest, parts)


def hand_over(manifest: Manifest, parts: Parts) -> None:
    """Give a trial what training left in another, unless it has it, so that it need not be trained again."""
    if parts.get("lanes.json") is None:
        for file, part in ({file: file for file in ON_THE_WAY if file in manifest.files} | TRAINED).items():
            parts.put(part, manifest.read(file))


@contextmanager
def _watching(trial: Trial, folder: Path, options: Options) -> Iterator[list[Watcher]]:
    """Give those who watch learning curves, and let them finish."""
    watchers: list[Watcher] = []
    if options.tensorboard:
        watchers.append(TensorBoard(folder.parents[1] / "tensorboard" / trial.identity))
    if options.wandb:
        watchers.append(WandB(folder.parents[1] / "wandb", trial.label, trial.config))
    try:
        yield watchers
    finally:
        for watcher in watchers:
            watcher.close()


def _train(trial: Training, store: Store, folder: Path, options: Options, report, times: Times) -> dict[str, bytes]:
    parts, devices = Parts(folder, report), Devices(options.devices)
    hardens = trial.agent == "clone" and getattr(trial.planner, "hardening_rounds", 0)
    wanted = [*TRAINED.values(), *([HARDENING] if hardens else [])]
    if devices.any(any(parts.get(part) is None for part in wanted)):
        with times.measure("train"), _watching(trial, folder, options) as watchers:
            levels = partial(training_levels, store, report)
            trained = _train_agent(trial, Workplace(folder, report, watchers, devices, options.save_every, levels))
        lanes = [
            lane._asdict() | {"first_bad_step": int(bad) if bad >= 0 else None, "events": dict(sorted(counts.items()))}
            for lane, bad, counts in zip(trial.lanes, trained.first_bad_step, trained.counts, strict=True)
        ]
        parts.put("weights.safetensors", arrays_bytes(named_arrays(trained.model)))
        if trained.milestones:
            stages = trained.milestones.items()
            arrays = {f"{step}/{name}": array for step, stage in stages for name, array in stage.items()}
            parts.put(MILESTONES, arrays_bytes(arrays))
        parts.put("curve.jsonl", by_lane(files.read(folder / "metrics.jsonl")))
        parts.put("lanes.json", json_bytes(lanes))
    contents = {file: parts.get(part) for file, part in TRAINED.items()}
    for file in ON_THE_WAY:
        if (content := parts.get(file)) is not None:
            contents[file] = content
    theirs = trial.adviser and finished(store, trial.adviser, report=report).read("lanes.json")
    if trial.evaluation is not None:
        with times.measure("evaluate"):
            if theirs is not None:
                contents["lanes.json"] = failed_in_either(contents["lanes.json"], theirs)
            good = finite_lanes(contents["lanes.json"])
            models = deploy.stored_models(trial, contents["weights.safetensors"], store)
            arena = None if trial.evaluation.shift is None else make_arena(store, trial, report)
            kinds = dict.fromkeys(POLICIES, deploy.evaluate_policies) | dict.fromkeys(ASKED, deploy.evaluate_models)
            scores = kinds.get(trial.agent, deploy.evaluate_planners)(
                trial, trial.evaluation, arena, models, good, parts, report
            )
            contents["scores.safetensors"] = arrays_bytes(scores)
    return contents
