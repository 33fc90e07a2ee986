"""An advised agent that asks an endpoint: it is evaluated on the host, and every question is logged.

<out>/aloud.json      rates by twin, and how often the endpoint was asked and answered
<out>/advice.jsonl    a line for every question: the advice, or the reason why there was none
"""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mbrl import files
from mbrl.advisers.base import Silence
from mbrl.advisers.chat import ChatAdviser
from mbrl.agents.advised import AdvisedPolicy, AskingAloud
from mbrl.evaluation.api import evaluate
from mbrl.experiments.deploy import load_models
from mbrl.experiments.single import open_run
from mbrl.experiments.work import finite_lanes
from mbrl.model_free import AdvisedConfig
from mbrl.plain import canonical
from mbrl.planning import ChatConfig
from mbrl.store import json_bytes


def evaluate_aloud(run: Path, chat: ChatConfig, shift: str, num_levels: int, seed: int, out: Path) -> dict[str, Any]:
    """Evaluate the first good seed of an advised agent, beside an endpoint; write what was found and return it.

    Raises:
        ValueError: the run is not of an advised agent, or the endpoint fails again and again; one line.
    """
    trial, manifest = open_run(run)
    if not isinstance(trial.learner, AdvisedConfig):
        raise ValueError(f"run: expected an advised agent beside an adviser, got {trial.agent}")
    lane = next(iter(finite_lanes(manifest.read("lanes.json"))), None)
    if lane is None:
        raise ValueError("run: expected a seed whose numbers stayed finite, got none")
    model = load_models(trial, manifest.read("weights.safetensors")).model
    mine = jax.tree.map(lambda leaf: jnp.asarray(leaf[lane]), model)
    log, place, told = out / "advice.jsonl", 0, Counter[str]()
    files.make_folder(out)
    for old in (log, out / "aloud.json"):
        files.remove(old)

    def note(event: dict[str, Any]) -> None:
        nonlocal place
        place = files.append(log, canonical(event) + b"\n", place)
        told["answered" if event["advice"] else "not answered"] += 1

    agent = AskingAloud(AdvisedPolicy(mine, Silence(), trial.learner.advice_ticks), ChatAdviser(chat, note).advise)
    found = evaluate(agent, shift, num_levels, seed)
    result = {
        "agent": "advised",
        "seed": trial.seeds[lane],
        "adviser": asdict(chat),
        "asked": dict(told),
        "conditions": [{**row, "agent": f"advised+{chat.model}", "regime": trial.regime} for row in found.conditions],
        "headline": [{**found.headline, "agent": f"advised+{chat.model}", "regime": trial.regime}],
    }
    files.write_whole(out / "aloud.json", json_bytes(result))
    return result
