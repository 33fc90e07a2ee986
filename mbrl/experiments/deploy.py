"""Trained agents put to the test: models from stored weights, deployed on every twin, and asked what they know.

policies   play all twins, `width` lanes at once
planners   plan and play, lane by lane; their models claim (K, rewards), answer questions and foretell
models     with which nothing plans answer questions and foretell
"""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np

from envs.solver import Graph
from mbrl import interrupt
from mbrl.checkpoint import Parts
from mbrl.configs import EvaluationConfig
from mbrl.evaluation import arena as arenas
from mbrl.evaluation.arena import Arena, Record, TrainingArena
from mbrl.evaluation.knowledge import expectations
from mbrl.evaluation.mechanisms import examine
from mbrl.evaluation.playing import first_observations
from mbrl.evaluation.prediction import beginnings, foretell
from mbrl.evaluation.task import predicted_rewards
from mbrl.keys import purpose_key
from mbrl.store import Store, arrays_bytes, read_arrays
from mbrl.train import Beside, agent_of, blank_model, imagined_of, planners_of
from mbrl.trials import Training

Arrays = dict[str, np.ndarray]
_FORETOLD = 24  # levels on which a model's errors are measured


@lru_cache(maxsize=8)
def held_out_levels(regime: str, num_levels: int, seed: int) -> TrainingArena:
    """Return held-out training levels of a regime; the last few are kept."""
    return arenas.make_training_arena(regime, num_levels, seed)


def first_and_guards(arena: Arena) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first observations, the guards and the routes of all twins' levels, one twin after the other."""
    banks = arena.banks.values()
    first = np.concatenate([first_observations(bank) for bank in banks])
    return first, *(np.concatenate([getattr(bank, name) for bank in banks]) for name in ("guards", "route"))


def named_scores(prefix: str, record: Record) -> Arrays:
    return {
        f"{prefix}{twin}/{metric}": np.asarray(values)
        for twin, scores in record.twins.items()
        for metric, values in vars(scores).items()
        if values is not None
    }


def load_models(trial: Training, weights: bytes) -> Any:
    """Return the models of all lanes of a trial from their stored weights; executes no code.

    Raises:
        ValueError: the file does not hold the arrays of this agent.
    """
    blank, stored = blank_model(trial), read_arrays(weights)
    wanted = {jax.tree_util.keystr(at): leaf for at, leaf in jax.tree_util.tree_leaves_with_path(blank)}
    expected = {name: ((len(trial.seeds), *leaf.shape), leaf.dtype) for name, leaf in wanted.items()}
    if {name: (array.shape, array.dtype) for name, array in stored.items()} != expected:
        raise ValueError(f"weights: expected the {len(wanted)} arrays of {trial.label}")
    return jax.tree.unflatten(jax.tree.structure(blank), [stored[name] for name in wanted])


def stored_models(trial: Training, weights: bytes, store: Store) -> Any:
    """Return the models of all lanes from their weights, beside those of whom they ask if these have learnt, too.

    Raises:
        ValueError: the weights are of something else, or whom they ask is not in the store; one line.
    """
    models = load_models(trial, weights)
    if trial.adviser is None:
        return models
    if not store.has(trial.adviser.identity):
        raise ValueError(f"adviser: expected {trial.adviser.label} in the store, got nothing")
    manifest = store.verify(trial.adviser.identity)
    return Beside(models, load_models(trial.adviser, manifest.read("weights.safetensors")))


def evaluate_policies(
    trial: Training,
    evaluation: EvaluationConfig,
    arena: Arena | None,
    models: Any,
    good: list[int],
    parts: Parts,
    report,
) -> Arrays:
    """Play policies, `width` at once whatever became of them, and keep the scores of those that are good.

    Args:
        trial: who was trained.
        evaluation, arena: where; no arena without a shift.
        models: of all lanes.
        good: numbers of the lanes that are finite.
        parts: what is kept of an evaluation that was stopped.
        report: what is told of progress.
    """
    found = []
    for first in range(0, len(trial.seeds), trial.width):
        report("plays")
        interrupt.check()
        padded = padded_lanes(trial, first)
        agent = agent_of(trial, models, padded)
        arrays = _play(trial.regime, evaluation, arena, agent, [trial.seeds[i] for i in padded], report)
        kept = [i for i, lane in enumerate(padded[: len(trial.seeds) - first]) if lane in good]
        found.append({name: array[kept] for name, array in arrays.items()})
    return _joined(found)


def padded_lanes(trial: Training, first: int) -> list[int]:
    """Return the lanes from `first` on that play at once, the last group filled up with copies of its first lane."""
    lanes = list(range(first, min(first + trial.width, len(trial.seeds))))
    return lanes + lanes[:1] * (trial.width - len(lanes))


def evaluate_planners(
    trial: Training,
    evaluation: EvaluationConfig,
    arena: Arena | None,
    models: Any,
    good: list[int],
    parts: Parts,
    report,
) -> Arrays:
    """Plan and play lane by lane, each kept as soon as it is finished (arguments as of `evaluate_policies`)."""
    asked, found = _beginnings(trial.regime, evaluation, arena), []
    for lane in good:
        interrupt.check()

        def work(lane=lane) -> bytes:
            report(f"seed {trial.seeds[lane]}: answers questions")
            answers = _knowledge(trial, asked, models, lane)
            report(f"seed {trial.seeds[lane]}: plans and plays")
            claims: list[Arrays] = []
            planners = planners_of(trial, models, [lane])
            if arena is not None:
                first, *marks = first_and_guards(arena)
                believer = planners
                if trial.planner.pessimism:  # what it shuns is not what it believes
                    believer = planners_of(
                        replace(trial, planner=replace(trial.planner, pessimism=0.0)), models, [lane]
                    )
                believer.planners[0].extend(
                    first, lambda graph, place: claims.append(_claims(graph, *(mark[place] for mark in marks)))
                )
            arrays = _play(trial.regime, evaluation, arena, planners, [trial.seeds[lane]], report)
            claimed = {name: np.concatenate([part[name] for part in claims], axis=1) for name in (claims or [{}])[0]}
            return arrays_bytes(arrays | claimed | answers)

        found.append(read_arrays(parts.make(f"scores-{lane}.safetensors", work)))
    return _joined(found)


def evaluate_models(
    trial: Training,
    evaluation: EvaluationConfig,
    arena: Arena | None,
    models: Any,
    good: list[int],
    parts: Parts,
    report,
) -> Arrays:
    """Ask models with which nothing plans what they know (arguments as of `evaluate_policies`)."""
    asked, found = _beginnings(trial.regime, evaluation, arena), []
    for lane in good:
        report(f"seed {trial.seeds[lane]}: answers questions")
        interrupt.check()
        found.append(_knowledge(trial, asked, models, lane))
    return _joined(found)


def _joined(found: list[Arrays]) -> Arrays:
    return {name: np.concatenate([arrays[name] for arrays in found]) for name in (found or [{}])[0]}


def _knowledge(trial: Training, asked: dict[str, tuple[np.ndarray, np.ndarray]], models: Any, lane: int) -> Arrays:
    """Return what a lane's model knows of each mechanism, and its errors on held-out and on deployment levels."""
    make = partial(imagined_of, models, lane)
    key_of = partial(jax.random.fold_in, purpose_key(trial.seeds[lane], "imagination"))
    answers = examine(make, key_of(0), getattr(trial.learner, "frame", None))
    found = {f"mechanisms/{name}": np.array([value]) for name, value in answers.items()}
    for i, (where, (obs, actions)) in enumerate(asked.items(), start=1):
        errors = foretell(make, obs, actions, key_of(i))
        found |= {f"errors/{where}/{thing}": values[None] for thing, values in errors.items()}
    return found


def _beginnings(
    regime: str, evaluation: EvaluationConfig, arena: Arena | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return where models are asked to foretell: held-out training levels, and the shift itself if there is one."""
    held_out = arenas.unmasked(held_out_levels(regime, evaluation.num_held_out, evaluation.seed))
    places = {"held_out": (held_out.bank, held_out.draws)}
    if arena is not None:
        places["actual"] = arena.banks["actual"], arena.draws
    key = purpose_key(evaluation.seed, "wanderer")
    first = lambda bank: jax.tree.map(lambda leaf: leaf[:_FORETOLD], bank)  # noqa: E731
    return {where: beginnings(first(bank), draws[:, :_FORETOLD], key) for where, (bank, draws) in places.items()}


def _claims(graph: Graph, guards: np.ndarray, route: np.ndarray) -> Arrays:
    """Return what a model expects, of one seed: of two plans, and of a clip and the test button."""
    plans, rewards = expectations(graph, guards, route), predicted_rewards(graph)
    named = {f"claims/{name}": value for name, value in vars(plans).items()}
    named |= {f"rewards/{name}": value for name, value in rewards.items()}
    return {name: value[None] for name, value in named.items()}


def _play(
    regime: str, evaluation: EvaluationConfig, arena: Arena | None, agent: Any, seeds: list[int], report
) -> Arrays:
    arrays: Arrays = {}
    if arena is not None:
        arrays |= named_scores("", arenas.play_arena(agent, arena, report, seeds))
    held_out = held_out_levels(regime, evaluation.num_held_out, evaluation.seed)
    played = arenas.play_training_arena(agent, held_out, seeds)
    return arrays | {"held_out": played.pop("clips")} | {f"held_out/{name}": array for name, array in played.items()}
