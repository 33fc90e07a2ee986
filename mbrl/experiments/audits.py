"""What audits found of a regime's levels, joined with the counts of what agents learnt from."""

from collections import Counter
from dataclasses import asdict

from envs.audit import PARTS, Part, audit_counts
from mbrl.store import Manifest
from mbrl.trials import Audit, Training

_MOST_FINDINGS = 100  # of one part of a regime's audit


def join_audits(audited: list[tuple[Audit, Manifest]], trained: list[tuple[Training, Manifest]]) -> dict[str, dict]:
    """Join for every regime what was found of its levels (a, b, d) with the counts of what agents learnt from (c)."""
    joined = {}
    for regime in dict.fromkeys(trial.regime for trial, _ in audited):
        reports = [manifest.read_json("audit.json") for trial, manifest in audited if trial.regime == regime]
        levels = [part for report in reports for part in report]
        learners = [(trial, manifest) for trial, manifest in trained if trial.regime == regime]
        # Agents whose planners alone differ, or whom they ask, learnt from the same: it counts for each, once in all.
        learnt = {(trial.agent, trial.alone): manifest.read_json("lanes.json") for trial, manifest in learners}
        parts = {name: _merge(levels, name) for name in "abd"}
        counts: dict[str, Counter] = {}
        checked, lines = {}, []
        for (agent, alone), lanes in learnt.items():
            for number, lane in enumerate(lanes):
                part = audit_counts(regime, lane["events"])
                checked[alone, number] = part.checked
                lines += [f"{agent}, seed {lane['seed']}: {line}" for line in part.findings]
                counts.setdefault(agent, Counter()).update(lane["events"])
        for trial, _ in learners:
            if trial.adviser is not None and trial.adviser.regime != regime:
                lines.append(f"{trial.agent}, all seeds: whom it asks has learnt in {trial.adviser.regime}")
        lines = list(dict.fromkeys(lines))
        parts["c"] = Part(not lines and bool(checked), sum(checked.values()), "transitions", tuple(lines))
        levels_clean = all(parts[name].passed for name in "abd")
        joined[regime] = {
            "regime": regime,
            "seeds": [part["seed"] for part in levels],
            "clean": all(part.passed for part in parts.values()),
            "clean_for": {
                agent: levels_clean and not any(line.startswith(f"{agent}, ") for line in lines) for agent in counts
            },
            "parts": {name: _shortened(parts[name]) for name in PARTS},
            "counts": {agent: dict(events) for agent, events in counts.items()},
        }
    return joined


def _shortened(part: Part) -> dict:
    """Return a part with the first of its findings and their number; the trials keep them all."""
    return {**asdict(part), "findings": part.findings[:_MOST_FINDINGS], "num_findings": len(part.findings)}


def _merge(levels: list[dict], name: str) -> Part:
    several = [(one["seed"], one["parts"][name]) for one in levels]
    lines = tuple(f"seed {seed}: {line}" for seed, part in several for line in part["findings"])
    total = lambda column: sum(part[column] for _, part in several)  # noqa: E731
    passed = all(part["passed"] for _, part in several)
    return Part(passed, total("checked"), several[0][1]["unit"], lines, total("states"))
