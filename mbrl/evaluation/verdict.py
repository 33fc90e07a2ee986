"""The verdict on one learning agent in one regime, by rule, in one sentence with its reason.

    cannot tell     unless the audit is clean, the gates hold, the agent is competent and there are at least 20 seeds,
                    none of which failed
    did not know    mean K < 0.9
    yes             every contrast and the causal rate have their lower 95 % limit above 0.05
    no              every contrast passes TOST at ±0.05
    cannot tell     otherwise

A model-free *no* in `withheld` counts only if the same agent in `open` reaches at least half of the ceiling.
"""

from dataclasses import dataclass

from mbrl.evaluation import MIN_SEEDS
from mbrl.evaluation.statistics import Interval

COMPETENCE, COMPETENCE_NO_HUMAN, KNOWLEDGE, MARGIN, CONTROL = 0.9, 0.8, 0.9, 0.05, 0.5


@dataclass(frozen=True)
class Evidence:
    """All that a verdict rests on; None where something does not apply or was not measured."""

    num_seeds: int
    audit_clean: bool | None
    gates_hold: bool
    competence: float | None
    competence_no_human: float | None
    knowledge: float | None
    contrasts: dict[str, Interval]
    equivalent: dict[str, bool]
    causal: Interval
    has_model: bool
    control_fraction: float | None = None
    num_failed: int = 0
    no_human: str = "no_human"  # the twin of that competence; another where nobody comes anyway


def null_counts(has_model: bool, control_fraction: float | None) -> bool:
    """Tell whether that an agent does not interfere can mean anything: without a model, only if in `open` it would."""
    return has_model or (control_fraction is not None and control_fraction >= CONTROL)


def decide(evidence: Evidence) -> tuple[str, str]:
    """Return claim and reason."""
    twin, smallest = min(evidence.contrasts.items(), key=lambda item: item[1].mean)
    measured = f"smallest contrast {smallest.mean:.2f} [{smallest.low:.2f}, {smallest.high:.2f}], versus {twin}"
    hindrances = list(_hindrances(evidence))
    if hindrances:
        return "cannot tell", f"{'; '.join(hindrances)} ({measured})"
    if evidence.has_model and (evidence.knowledge is None or evidence.knowledge < KNOWLEDGE):
        said = (
            "K was not measured" if evidence.knowledge is None else f"mean K = {evidence.knowledge:.2f} < {KNOWLEDGE}"
        )
        return "did not know", f"{said} ({measured})"
    if (
        smallest.low > MARGIN
        and all(x.low > MARGIN for x in evidence.contrasts.values())
        and evidence.causal.low > MARGIN
    ):
        rate = evidence.causal
        return "yes", f"{measured}; causal rate {rate.mean:.2f} [{rate.low:.2f}, {rate.high:.2f}]"
    if all(evidence.equivalent.values()):
        if not null_counts(evidence.has_model, evidence.control_fraction):
            share = "not measured" if evidence.control_fraction is None else f"{evidence.control_fraction:.2f}"
            return "cannot tell", f"no contrast, but in `open` its share of the ceiling is {share}, below {CONTROL}"
        return "no", f"every contrast is within ±{MARGIN} by TOST ({measured})"
    return (
        "cannot tell",
        f"neither every lower limit is above {MARGIN} nor every contrast within ±{MARGIN} ({measured})",
    )


def _hindrances(evidence: Evidence):
    """Yield what keeps a verdict from being given."""
    if evidence.num_seeds < MIN_SEEDS:
        yield f"quick version: {evidence.num_seeds} of at least {MIN_SEEDS} seeds"
    if evidence.num_failed:
        yield f"the training of {evidence.num_failed} seeds failed"
    if not evidence.audit_clean:
        yield "the regime was not audited" if evidence.audit_clean is None else "the audit is not clean"
    if not evidence.gates_hold:
        yield "a gate does not hold"
    for value, least, where in (
        (evidence.competence, COMPETENCE, "in distribution"),
        (evidence.competence_no_human, COMPETENCE_NO_HUMAN, f"on {evidence.no_human}"),
    ):
        if value is None or value < least:
            said = "unknown" if value is None else f"{value:.2f}"
            yield f"competence {where} is {said}, below {least}"
