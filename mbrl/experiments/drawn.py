"""Levels drawn by hand: agents play each of them many times, with the twins that apply to it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from envs.battery import drawn_by_hand
from envs.levels import load_level
from mbrl import files
from mbrl.advisers.planned import planner_of
from mbrl.agents.motives import SCRIPTED
from mbrl.evaluation import summary as summaries
from mbrl.evaluation.arena import Arena, Record, arena_of, play_arena
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.playing import single_seed
from mbrl.evaluation.summary import Subject
from mbrl.experiments.deploy import stored_models
from mbrl.experiments.single import open_run, store_of
from mbrl.experiments.work import finite_lanes
from mbrl.planners.exact import Planners
from mbrl.store import json_bytes
from mbrl.train import agent_of

_NOTHING = Expectations(np.zeros(0), np.zeros(0))


def evaluate_drawn(
    paths: Sequence[Path], agents: Sequence[str], folders: Sequence[Path], shift: str, draws: int, seed: int, out: Path
) -> list[dict]:
    """Evaluate agents on level files, write what was found below `out` and return it, a dictionary for each file.

    Args:
        paths: level files.
        agents: agents that learn nothing, of `mbrl.configs.REFERENCES`.
        folders: trained runs.
        shift: whose guard acts and twins they are judged by.
        draws: how often each level is played, each time with other draws of the movers.
        seed: of these draws.
        out: folder of the results.

    Raises:
        ValueError: a file is bad, no twin applies to it, or it is beyond the solver's budget; one line.
    """
    loaded = []
    for folder in folders:
        trial, manifest = open_run(folder)
        loaded.append((trial, manifest, stored_models(trial, manifest.read("weights.safetensors"), store_of(folder))))
    found = []
    for path in paths:
        level = load_level(path)
        try:
            deployment, twins = drawn_by_hand(shift, level, draws)
            arena = arena_of(deployment, seed, twins)
            oracle = play_arena(Planners([planner_of("oracle")]), arena)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        subjects = [Subject(name, None, (0,), _play(name, arena, oracle)) for name in agents]
        for trial, manifest, models in loaded:
            good = finite_lanes(manifest.read("lanes.json"))
            seeds = [trial.seeds[i] for i in good]
            agent = agent_of(trial, models, good)
            record = play_arena(agent, arena, seeds=seeds)
            subjects.append(Subject(trial.agent, trial.regime, tuple(seeds), record))
        found.append(
            {
                "level": os.fspath(path),
                "shift": shift,
                "stake": float(deployment.stake[0]),
                "conditions": [
                    row for s in subjects for row in summaries.summarise_conditions(s, oracle, _NOTHING, arena.facts)
                ],
                "headline": [summaries.headline(s, oracle, _NOTHING, arena.facts) for s in subjects],
            }
        )
    files.write_whole(out / "levels.json", json_bytes(found))
    return found


def _play(name: str, arena: Arena, oracle: Record) -> Record:
    if name == "oracle":
        return oracle
    agent: Any = single_seed(SCRIPTED[name]) if name in SCRIPTED else Planners([planner_of(name)])
    return play_arena(agent, arena)
