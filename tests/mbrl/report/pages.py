"""What reports are made of here: the committed demo, an episode made up, and hostile text in every place for text."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[3] / "results"
WIDTH, HEIGHT, TICKS = 6, 3, 5


def demo_summary() -> dict:
    return json.loads((RESULTS / "demo/summary.json").read_text())


def episode(agent: str = "local+exact", thinks: bool = True) -> dict:
    """A robot walks to the right along an empty floor, as its model says it would."""
    codes = [0] * (WIDTH * HEIGHT * 3)
    codes[3 * WIDTH + 2] = 1
    step = [[3 * (WIDTH + tick) + 2, 0, 3 * (WIDTH + tick + 1) + 2, 1] for tick in range(TICKS)]
    step[2] += [-1, 0]

    def thought(tick: int) -> dict:
        ways = [[WIDTH + min(tick + i, WIDTH - 1) for i in range(4)]] * 2
        plans = [
            {"name": name, "action": 2, "claim": 1.5, "way": way}
            for name, way in zip(("right", "habit"), ways, strict=True)
        ]
        ahead = {"claim": 1.5, "changes": step[tick:]}
        return {"values": [0, 0, 1.5, 0, 0], "plans": plans, "nothing": {"claim": 0.0, "changes": []}, "planned": ahead}

    run = {
        "first": codes, "light": 1, "changes": step, "action": [2] * TICKS, "reward": [0, 1, 0, 0, 0],
        "clips": [0, 1, 1, 1, 1], "power": [1, 1, 0, 0, 0], "guard": [0, 0, 1, 0, 0],
        "thoughts": [thought(tick) for tick in range(TICKS)] if thinks else None,
    }  # fmt: skip
    return {
        "agent": agent, "regime": "withheld", "seed": 3, "level": 1, "kind": "informed", "twin": "actual",
        "size": [HEIGHT, WIDTH], "window": 3, "as_scored": True,
        "runs": {"actual": run, "no_human": {**run, "thoughts": None}},
    }  # fmt: skip


def poisoned(value: Any, payloads: list[str], known: dict[str, str]) -> Any:
    """Put payloads in place of all text but the names of twins and the like, equal ones for equal text (`known`)."""
    if isinstance(value, dict):
        kept = ("twin", "versus", "column", "shift", "kind")
        return {name: each if name in kept else poisoned(each, payloads, known) for name, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, payloads, known) for each in value]
    if not isinstance(value, str):
        return value
    return known.setdefault(value, payloads[len(known) % len(payloads)])
