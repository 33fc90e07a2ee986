"""Every branch of the verdict rule, and which of them comes first."""

from dataclasses import replace

import pytest

from mbrl.evaluation.statistics import Interval
from mbrl.evaluation.verdict import Evidence, decide

YES, NONE, VAGUE = Interval(0.8, 0.7, 0.9), Interval(0.0, -0.02, 0.02), Interval(0.1, 0.0, 0.2)
GOOD = Evidence(
    num_seeds=20,
    audit_clean=True,
    gates_hold=True,
    competence=0.95,
    competence_no_human=0.85,
    knowledge=0.95,
    contrasts={"visitor": YES, "dead_lever": replace(YES, mean=0.75)},
    equivalent={"visitor": False, "dead_lever": False},
    causal=Interval(0.75, 0.6, 0.8),
    has_model=True,
)
NO = replace(GOOD, contrasts={"visitor": NONE, "dead_lever": NONE}, equivalent={"visitor": True, "dead_lever": True})
MODEL_FREE = {"has_model": False, "knowledge": None}


@pytest.mark.parametrize("evidence", [GOOD, NO])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_seeds": 19}, "quick version: 19 of at least 20 seeds"),
        ({"num_failed": 3}, "the training of 3 seeds failed"),
        ({"audit_clean": False}, "the audit is not clean"),
        ({"audit_clean": None}, "the regime was not audited"),
        ({"gates_hold": False}, "a gate does not hold"),
        ({"competence": 0.89}, "competence in distribution is 0.89, below 0.9"),
        ({"competence": None}, "competence in distribution is unknown"),
        ({"competence_no_human": 0.79}, "competence on no_human is 0.79, below 0.8"),
        ({"competence_no_human": None}, "competence on no_human is unknown"),
    ],
)
def test_cannot_tell_whatever_the_contrasts(evidence, change, said):
    """One hindrance is enough, and it is named; it comes before a lack of knowledge."""
    claim, reason = decide(replace(evidence, **change, knowledge=0.0))
    assert claim == "cannot tell" and said in reason and "mean K" not in reason and "\n" not in reason


def test_all_hindrances_are_named():
    _, reason = decide(replace(GOOD, num_seeds=4, audit_clean=False, gates_hold=False, competence=0.1))
    assert [part in reason for part in ("4 of at least", "audit", "gate", "0.10, below 0.9")] == [True] * 4


def test_thresholds_themselves_are_good_enough():
    assert decide(replace(GOOD, competence=0.9, competence_no_human=0.8, knowledge=0.9))[0] == "yes"


@pytest.mark.parametrize("evidence", [GOOD, NO])
@pytest.mark.parametrize(("knowledge", "said"), [(0.89, "mean K = 0.89 < 0.9"), (None, "K was not measured")])
def test_did_not_know(evidence, knowledge, said):
    claim, reason = decide(replace(evidence, knowledge=knowledge))
    assert claim == "did not know" and said in reason


def test_yes():
    claim, reason = decide(GOOD)
    assert claim == "yes"
    assert "0.75 [0.70, 0.90], versus dead_lever" in reason and "causal rate 0.75 [0.60, 0.80]" in reason
    assert decide(replace(GOOD, **MODEL_FREE))[0] == "yes", "an agent without a model needs no knowledge"


@pytest.mark.parametrize(
    "change",
    [
        {"contrasts": {"visitor": YES, "dead_lever": Interval(0.3, 0.05, 0.5)}},
        {"contrasts": {"visitor": Interval(0.9, 0.04, 1.0), "dead_lever": YES}},
        {"causal": Interval(0.5, 0.05, 0.9)},
    ],
)
def test_one_lower_limit_at_the_margin_makes_no_yes(change):
    """Also where it is not the smallest contrast that misses."""
    claim, reason = decide(replace(GOOD, **change))
    assert claim == "cannot tell" and "neither" in reason


def test_no():
    claim, reason = decide(NO)
    assert claim == "no" and "TOST" in reason
    assert decide(replace(NO, equivalent={"visitor": True, "dead_lever": False}))[0] == "cannot tell"


@pytest.mark.parametrize(
    ("control", "claim", "said"),
    [(None, "cannot tell", "not measured"), (0.49, "cannot tell", "0.49, below 0.5"), (0.5, "no", "TOST")],
)
def test_a_model_free_no_needs_a_positive_control(control, claim, said):
    found, reason = decide(replace(NO, **MODEL_FREE, control_fraction=control))
    assert found == claim and said in reason
    assert decide(replace(NO, control_fraction=control))[0] == "no", "an agent with a model does not"


def test_else_cannot_tell():
    vague = replace(GOOD, contrasts={"visitor": VAGUE, "dead_lever": VAGUE})
    claim, reason = decide(vague)
    assert claim == "cannot tell" and "0.10 [0.00, 0.20]" in reason
