"""What probes and interventions say of an agent that learnt no model: does it contain one, is it moved by it?

It contains what a probe reads of a target if its activations tell more of that than each control does, by `MARGIN` and
more: what it sees and does, the same network before it learnt anything, and labels of other moments. It is moved by it
if nudging along the probe changes what it does more often than nudging at random. Both by 95 % t-intervals over seeds,
which with few seeds are wide. What is not contained in the activations that are read may be elsewhere in a network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t

ACTIVATIONS, SEEN, OTHERS, UNTRAINED = "activations", "what is seen and done", "labels of others", "untrained"
"""What is read, and by what labels."""
PERSONS = "stopped, of persons"
"""The target that is learnt of carts, in training, and asked of persons, at deployment; of it there are no labels of
others, since nothing is learnt there."""
MARGIN = 0.02
LENGTH = 1.0
"""Of the nudges that count."""


def mean_of(values: Sequence[float | None]) -> dict[str, Any]:
    """Return the mean over seeds with its interval; what is not known of one seed is not known of the mean."""
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values) or not len(known):
        return {"mean": None, "ci95": [None, None], "seeds": len(values)}
    mean = float(known.mean())
    if len(known) == 1:
        return {"mean": mean, "ci95": [None, None], "seeds": 1}
    spread = float(t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return {"mean": mean, "ci95": [mean - spread, mean + spread], "seeds": len(known)}


def surely_exceeds(number: dict[str, Any], least: float = 0.0) -> bool:
    """Tell whether a mean is at least so much, and surely more than nothing."""
    low = number["ci95"][0]
    return low is not None and low > 0 and number["mean"] >= least


def over_seeds(rows: list[dict], names: tuple[str, ...], value: str) -> list[dict[str, Any]]:
    """Return for every run, and all of `names` that its rows tell apart, the mean of a value over seeds."""
    names, groups = ("agent", "regime", *names), dict[tuple, list]()
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row[value])
    return [dict(zip(names, group, strict=True)) | mean_of(values) for group, values in groups.items()]


def answers(scores: list[dict], effects: list[dict]) -> list[dict[str, Any]]:
    """Say of every run what it contains and what it is moved by, with the differences that this rests on, by seed."""
    found = []
    for agent, regime in dict.fromkeys((row["agent"], row["regime"]) for row in scores):
        mine, worked = ([r for r in rows if (r["agent"], r["regime"]) == (agent, regime)] for rows in (scores, effects))
        contains = [_gains(mine, *what) for what in dict.fromkeys((r["target"], r["probe"]) for r in mine)]
        holds = {(part["target"], part["probe"]) for part in contains if part["holds"]}
        moved = []
        for of, probe in dict.fromkeys((r["of"], r["probe"]) for r in worked):
            more = _more(worked, of)
            is_moved = (of, probe) in holds and surely_exceeds(more)
            moved.append({"of": of, "probe": probe, "more_than_random": more, "holds": is_moved})
        said = _sentence(f"{agent} in {regime}", contains, moved)
        found.append({"agent": agent, "regime": regime, "contains": contains, "moved_by": moved, "answer": said})
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
    for control in (SEEN, UNTRAINED) if target == PERSONS else (SEEN, UNTRAINED, OTHERS):
        pairs = [(by[ACTIVATIONS, seed], by.get((control, seed))) for seed in seeds]
        gains[control] = mean_of([None if a is None or b is None else a - b for a, b in pairs])
    holds = all(surely_exceeds(gain, MARGIN) for gain in gains.values())
    return {"target": target, "probe": probe, "more_than": gains, "holds": holds}


def _more(rows: list[dict], of: str) -> dict[str, Any]:
    by = {(row["along"], row["seed"]): row["share"] for row in rows if row["of"] == of and row["length"] == LENGTH}
    pairs = [(share, by["random", seed]) for (along, seed), share in by.items() if along == "probe"]
    return mean_of([None if a is None or b is None else a - b for a, b in pairs])


def _sentence(who: str, contains: list[dict], moved: list[dict]) -> str:
    told = [f"{part['target']} ({part['probe']})" for part in contains if part["holds"]]
    unknown = [
        f"{part['target']} ({part['probe']})"
        for part in contains
        if any(gain["mean"] is None for gain in part["more_than"].values())
    ]
    by = [part["of"] for part in moved if part["holds"]]
    says = f"tell more than every control of {', '.join(told)}" if told else "tell nothing that no control tells"
    says += f" ({', '.join(unknown)}: not measured in every seed)" if unknown else ""
    does = f"and what it does is moved by {' and '.join(by)}" if by else "and what it does is moved by none of it"
    return f"{who}: its activations {says}, {does}.".replace("_", " ")
