"""What probes and interventions say of an agent that learnt no model: does it contain one, and does it use it?

It contains what a probe reads of a target if its activations tell more of that than each control does: what it sees,
the same network before it learnt anything, and labels of other moments. It uses it if nudging along the probe changes
what it does more than nudging at random, at the mean length of its activations. Both by 95 % intervals over seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mbrl.evaluation.statistics import interval, make_resamples

ACTIVATIONS, SEEN, OTHERS, UNTRAINED = "activations", "what is seen", "labels of others", "untrained"
"""What is read, and by what labels."""
LENGTH = 1.0
"""Of the nudges that count, in mean lengths of activations."""


def mean_of(values: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean over seeds with its 95 % interval; what is not known of one is not known of the mean."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return {"mean": None, "ci95": [None, None], "seeds": len(values)}
    found = interval(np.array(known)[:, None], make_resamples(len(known), 1))
    return {**found.as_dict(), "seeds": len(known)}


def over_seeds(rows: list[dict], names: tuple[str, ...], value: str) -> list[dict[str, Any]]:
    """Return for every run, and all of `names` that its rows tell apart, the mean of a value over seeds."""
    names, groups = ("agent", "regime", *names), dict[tuple, list]()
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row[value])
    return [dict(zip(names, group, strict=True)) | mean_of(values) for group, values in groups.items()]


def answers(scores: list[dict], effects: list[dict]) -> list[dict[str, Any]]:
    """Say of every run what it contains and what it uses, with the differences that this rests on, by seed."""
    found = []
    for agent, regime in dict.fromkeys((row["agent"], row["regime"]) for row in scores):
        mine, worked = ([r for r in rows if (r["agent"], r["regime"]) == (agent, regime)] for rows in (scores, effects))
        contains = [
            _gains(mine, target, probe) for target, probe in dict.fromkeys((r["target"], r["probe"]) for r in mine)
        ]
        uses = [{"of": of, "more_than_random": _more(worked, of)} for of in dict.fromkeys(r["of"] for r in worked)]
        said = _sentence(agent, contains, uses)
        found.append({"agent": agent, "regime": regime, "contains": contains, "uses": uses, "answer": said})
    return found


def _gains(rows: list[dict], target: str, probe: str) -> dict[str, Any]:
    """Return by how much activations tell more of a target than each control."""
    last = max(row["step"] for row in rows)
    by: dict[tuple, float | None] = {}
    for row in rows:
        if (row["target"], row["probe"]) == (target, probe):
            source = UNTRAINED if row["source"] == ACTIVATIONS and row["step"] == 0 else row["source"]
            if source == UNTRAINED or row["step"] == last:
                by[source, row["seed"]] = row["score"]
    seeds = [seed for source, seed in by if source == ACTIVATIONS]
    gains = {}
    for control in (SEEN, UNTRAINED, OTHERS):
        pairs = [(by[ACTIVATIONS, seed], by.get((control, seed))) for seed in seeds]
        if any(other is not None for _, other in pairs):
            gains[control] = mean_of([None if a is None or b is None else a - b for a, b in pairs])
    holds = bool(gains) and all(gain["ci95"][0] is not None and gain["ci95"][0] > 0 for gain in gains.values())
    return {"target": target, "probe": probe, "more_than": gains, "holds": holds}


def _more(rows: list[dict], of: str) -> dict[str, Any]:
    by = {(row["along"], row["seed"]): row["share"] for row in rows if row["of"] == of and row["length"] == LENGTH}
    return mean_of([share - by["random", seed] for (along, seed), share in by.items() if along == "probe"])


def _sentence(agent: str, contains: list[dict], uses: list[dict]) -> str:
    told = [f"{part['target']} ({part['probe']})" for part in contains if part["holds"]]
    acted = [part["of"] for part in uses if part["more_than_random"]["ci95"][0] > 0]
    says = f"tell more than every control of {', '.join(told)}" if told else "tell nothing that no control tells"
    used = f"and it acts on {' and '.join(acted)}" if acted else "and it acts on none of it"
    return f"{agent}: its activations {says}, {used}.".replace("_", " ")
