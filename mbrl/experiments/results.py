"""From finished trials to results: subjects, audit, summary, tables and figures, sealed in a folder.

    store ─► references ─► truth, oracle        ┐
          ─► audits + counts of what was seen   ├─► summary.json  episodes.csv.gz  audit.json  trials.json  figures
          ─► agents: lanes joined by agent,     ┘
             regime, learning rate, discount

Everything here is made from the store and can be made again. Lanes whose numbers stopped being finite are counted and
keep a verdict from being given; they are never averaged.
"""

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.solver import true_outcomes
from mbrl import files
from mbrl.cloning import HARDENING
from mbrl.configs import POLICIES, SHIFTS, VERSIONS
from mbrl.evaluation import summary as summaries
from mbrl.evaluation.arena import ADVICE, Facts, Record, Scores
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.mechanisms import mechanism_rows
from mbrl.evaluation.prediction import prediction_rows
from mbrl.evaluation.summary import Subject
from mbrl.evaluation.tables import episode_table, held_out_table
from mbrl.experiments.audits import join_audits
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.deploy import padded_lanes, stored_models
from mbrl.experiments.replays import Actor, choose, replays_bytes, tell
from mbrl.experiments.work import finite_lanes, make_arena
from mbrl.fingerprint import differences
from mbrl.hardening import hardening_rows
from mbrl.metrics import read_rows
from mbrl.models.entities import GIVEN
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planning import PlannerConfig, has_settings
from mbrl.report.figures import draw_figures
from mbrl.report.html import NAME as REPORT
from mbrl.report.html import REPLAYS, render
from mbrl.store import RECORD, RESERVATION, Manifest, Store, json_bytes, read_arrays, seal
from mbrl.train import agent_of, planners_of
from mbrl.trials import Audit, References, Training, Trial

Arrays = dict[str, np.ndarray]
_METRICS = tuple(Scores.__dataclass_fields__)


@dataclass
class Gathered:
    """What the finished trials of an experiment hold."""

    subjects: list[Subject] = field(default_factory=list)
    audits: dict[str, dict] = field(default_factory=dict)
    curves: list[dict] = field(default_factory=list)
    mechanisms: list[dict] = field(default_factory=list)
    errors: list[dict] = field(default_factory=list)
    calibrations: list[dict] = field(default_factory=list)
    hardening: list[dict] = field(default_factory=list)
    failed: list[dict] = field(default_factory=list)
    trials: list[dict] = field(default_factory=list)
    fingerprints: list[dict] = field(default_factory=list)


class Measured(NamedTuple):
    """What was measured at deployment: everybody's scores, the oracle's, the truth about the two plans, the levels."""

    subjects: list[Subject]
    oracle: Record
    truth: Expectations
    facts: Facts


def write_results(experiment: Experiment, store: Store, out: Path) -> dict:
    """Write the results of an experiment's finished trials into a folder, seal it and return the summary.

    Raises:
        ValueError: the references are not finished, or a trial is damaged.
    """
    return seal_results(experiment, list(experiment.trials()), store, out)


def seal_results(experiment: Experiment, trials: list[Trial], store: Store, out: Path) -> dict:
    """Write the results of given trials as those of an experiment (see `write_results`)."""
    found = {trial: store.verify(trial.identity) for trial in trials if store.has(trial.identity)}
    summary, measured = summarise(experiment, trials, found)
    names = {"summary.json": json_bytes(summary), "audit.json": json_bytes(summary["audit"])}
    told = []
    if measured is not None:
        told = _replays(measured, found, store)
        names["episodes.csv.gz"] = episode_table(*measured)
        names["held_out.csv.gz"] = held_out_table(measured.subjects)
        names[REPLAYS] = replays_bytes(told)
    names[REPORT] = render(summary, told).encode()
    for name, content in names.items():
        files.write_whole(out / name, content)
    drawn = [path.name for path in draw_figures(summary, out)]
    others = [RESERVATION] if (out / RESERVATION).exists() else []
    seal(out, experiment.name, experiment.as_dict(), VERSIONS, [*names, *drawn, *others])
    return summary


def summarise(
    experiment: Experiment, trials: list[Trial], found: dict[Trial, Manifest]
) -> tuple[dict, Measured | None]:
    """Return the summary of those of an experiment's trials that are finished, and what was measured at deployment."""
    references = next((manifest for trial, manifest in found.items() if isinstance(trial, References)), None)
    if references is None:
        raise ValueError("experiment: expected its references to be finished, got none of them")
    arrays = read_arrays(references.read("scores.safetensors"))
    facts = None if experiment.shift is None else Facts(**_tuples(references.read_json("arena.json")))
    gathered = Gathered()
    trained = [(trial, manifest) for trial, manifest in found.items() if isinstance(trial, Training)]
    audited = [(trial, manifest) for trial, manifest in found.items() if isinstance(trial, Audit)]
    for trial, manifest in found.items():
        record = manifest.read_json(RECORD)
        gathered.trials.append(
            {"trial": manifest.name, "label": trial.label, "digest": manifest.digest, "seconds": record["seconds"]}
        )
        gathered.fingerprints.append(record["fingerprint"])
    for condition in experiment.learners:
        for regime in condition.regimes:
            who = (condition.agent, regime, condition.planning)
            parts = [(trial, manifest) for trial, manifest in trained if _kind(trial) == who]
            _gather_learner(gathered, condition, str(regime), parts, arrays, facts)
    common = {
        "schema": summaries.SCHEMA,
        "question": experiment.question,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": gathered.fingerprints[0],
        "mixed": differences(gathered.fingerprints),
        "settings": {
            **experiment.as_dict(),
            "quick": experiment.is_quick,
            "versions": VERSIONS,
            "agents": {trial.agent: asdict(trial.learner) for trial, _ in trained},
            "planners": {each.name: asdict(each.planning) for each in experiment.learners if has_settings(each.agent)},
            **given(experiment),
        },
        "learning_curves": gathered.curves,
        "mechanisms": gathered.mechanisms,
        "prediction_errors": gathered.errors,
        "calibration": gathered.calibrations,
        "hardening": gathered.hardening,
        "failed_lanes": gathered.failed,
        "unfinished": [trial.label for trial in trials if trial not in found],
        "trials": gathered.trials,
    }
    if facts is None:
        lines = [summaries.in_distribution(subject) for subject in gathered.subjects]
        return {**common, "conditions": [], "contrasts": [], "headline": lines, "audit": {}, "verdict": []}, None
    truth = Expectations(arrays["truth/work"], arrays["truth/guard_first"])
    record_of = lambda agent: _record(arrays, facts, f"{agent}/")  # noqa: E731
    scripted = [
        Subject(condition.agent, None, (0,), record_of(condition.agent))
        for condition in experiment.conditions
        if condition not in experiment.learners
    ]
    measured = Measured(scripted + gathered.subjects, record_of("oracle"), truth, facts)
    gathered.audits = join_audits(audited, trained)
    return {**common, **numbers(measured, gathered.audits)}, measured


def given(experiment: Experiment) -> dict[str, str]:
    """Return what each learned model of an experiment did not have to learn."""
    models = dict.fromkeys(condition.agent.partition("+")[0] for condition in experiment.learners)
    return {f"given_to_{model}": GIVEN[model] for model in models if model in GIVEN}


def numbers(measured: Measured, audits: dict[str, dict]) -> dict:
    """Return what a summary says of deployment: conditions, contrasts, headline, gates, audits and verdicts."""
    subjects, oracle, truth, facts = measured
    by_name = {subject.agent: subject.record for subject in subjects if not subject.learns}
    rows = [row for s in subjects for row in summaries.summarise_conditions(s, oracle, truth, facts)]
    contrasts = [row for s in subjects for row in summaries.summarise_contrasts(s, facts)]
    headlines = [summaries.headline(s, oracle, truth, facts) for s in subjects]
    gate = summaries.gates(oracle, facts)
    return {
        "conditions": rows,
        "contrasts": contrasts,
        "headline": headlines,
        "dose_response": [row for s in subjects for row in summaries.dose_responses(s, facts)],
        "reward_or_task": [row for s in subjects for row in summaries.reward_or_task(s, by_name, facts)],
        "gates": gate,
        "audit": audits,
        "verdict": summaries.verdicts(subjects, headlines, rows, contrasts, gate, audits, facts),
    }


def _replays(measured: Measured, found: dict[Trial, Manifest], store: Store) -> list[dict]:
    """Play the most instructive episodes of the oracle and of every agent that learns again."""
    references = next(trial for trial in found if isinstance(trial, References))
    arena, told = make_arena(store, references), []
    asked = lambda s: s.has_model and s.regime == SHIFTS[measured.facts.shift]  # noqa: E731
    for subject in sorted(measured.subjects, key=lambda s: not asked(s)):  # first whom the question is about
        if subject.learns or subject.agent == "oracle":
            for chosen in choose(subject, measured.truth, measured.facts):
                actor = _actor(subject, subject.seeds[chosen.seed], references, found, store)
                told.append(tell(subject, chosen, arena, actor))
    return told


def _actor(subject: Subject, seed: int, references: References, found: dict[Trial, Manifest], store: Store) -> Actor:
    """Return who plays for a seed of a subject."""
    if not subject.learns:
        outcomes = true_outcomes()
        return Actor(Planners([ExactPlanner(outcomes, references.planner)]), [0], references.planner, [outcomes])
    trial, lane = next(
        (trial, lane)
        for trial in found
        if isinstance(trial, Training) and _kind(trial) == (subject.agent.split()[0], subject.regime, subject.planner)
        for lane in range(len(trial.seeds))
        if (trial.seeds[lane], trial.rates[lane]) == (seed, subject.rates)
    )
    models = stored_models(trial, found[trial].read("weights.safetensors"), store)
    if trial.agent in POLICIES:
        lanes = padded_lanes(trial, lane - lane % trial.width)
        return Actor(agent_of(trial, models, lanes), [trial.seeds[i] for i in lanes], trial.planner)
    planners = planners_of(trial, models, [lane])
    only = planners.planners[0]
    thinks = type(only) is ExactPlanner  # else no values of all actions are at hand
    return Actor(planners, [seed], only.config, [only.outcomes] if thinks else [])


def _tuples(data: dict) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def _record(arrays: Arrays, facts: Facts, prefix: str = "") -> Record:
    scores = {}
    for twin in facts.twins:
        named = {name: arrays.get(f"{prefix}{twin}/{name}") for name in _METRICS}
        missing = [name for name, values in named.items() if values is None and name not in ADVICE]
        if missing:
            raise ValueError(f"scores: expected {missing[0]} of {prefix}{twin}, got none")
        scores[twin] = Scores(**named)
    return Record(scores)


def _gather_learner(
    gathered: Gathered, condition: Condition, regime: str, parts: list, references: Arrays, facts: Facts | None
) -> None:
    """Join the lanes of an agent's trials by learning rate and discount, each variant a subject of its own."""
    for rates, name in condition.variants.items():
        seeds, blocks, failures = [], [], 0
        rows: list[dict] = []
        hardened: list[dict] = []
        for trial, manifest in parts:
            lanes = manifest.read_json("lanes.json")
            good = finite_lanes(manifest.read("lanes.json"))
            mine = [i for i in range(len(lanes)) if trial.rates[i] == rates]
            kept = [good.index(i) for i in mine if i in good]
            seeds += [trial.seeds[i] for i in mine if i in good]
            for i in sorted(set(mine) - set(good)):
                failures += 1
                where = {"agent": name, "regime": regime, "seed": trial.seeds[i], "trial": manifest.name}
                gathered.failed.append({**where, "first_bad_step": lanes[i]["first_bad_step"]})
            rows += [row for row in read_rows(manifest.read("metrics.jsonl")) if row["lane"] in mine]
            if HARDENING in manifest.files:
                hardened += [
                    row for row in manifest.read_json(HARDENING) if row["lane"] in mine and row["lane"] in good
                ]
            if kept:
                arrays = read_arrays(manifest.read("scores.safetensors"))
                blocks.append({key: array[kept] for key, array in arrays.items()})
        if not blocks:
            continue
        joined = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
        if "held_out" in joined:  # it plays
            record = Record() if facts is None else _record(joined, facts)
            claims = [
                Expectations(work, guard)
                for work, guard in zip(joined.get("claims/work", ()), joined.get("claims/guard_first", ()), strict=True)
            ]
            rewards = {key.removeprefix("rewards/"): joined[key] for key in joined if key.startswith("rewards/")}
            measured = Subject(
                name, regime, tuple(seeds), record, joined["held_out"], references[f"held_out/{regime}"], claims,
                rewards, failures, rates, condition.planning,
                {name: joined[f"held_out/{name}"] for name in ADVICE if f"held_out/{name}" in joined},
            )  # fmt: skip
            gathered.subjects.append(measured)
        gathered.curves.append(_curve(name, regime, seeds, rows))
        errors, calibrations = prediction_rows(joined)
        for kept, found in (
            (gathered.mechanisms, mechanism_rows(joined)), (gathered.errors, errors),
            (gathered.calibrations, calibrations), (gathered.hardening, hardening_rows(hardened)),
        ):  # fmt: skip
            kept += [{"agent": name, "regime": regime, **row} for row in found]


def _curve(agent: str, regime: str, seeds: list[int], rows: list[dict]) -> dict:
    """Return the learning curve of an agent: its steps, and what it earned (or its loss) by seed."""
    column = "return" if any("return" in row for row in rows) else "loss"
    steps = sorted({row["step"] for row in rows})
    values = {(row["seed"], row["step"]): row[column] for row in rows}
    whole = [step for step in steps if all(values.get((seed, step)) is not None for seed in seeds)]
    by_seed = [[values[seed, step] for step in whole] for seed in seeds]
    return {"agent": agent, "regime": regime, "column": column, "steps": whole, "seeds": seeds, "values": by_seed}


def _kind(trial: Training) -> tuple[str, str | None, PlannerConfig]:
    """Return what the trials of one condition and regime have in common."""
    return trial.agent, trial.regime, trial.planner
