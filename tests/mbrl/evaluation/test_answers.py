"""Answers: an agent contains what it tells better than every control, in the interval over seeds, and no more."""

import pytest
from scipy.stats import ttest_1samp

from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, PERSONS, SEEN, UNTRAINED, answers, mean_of, over_seeds

WHO = {"agent": "ppo", "regime": "withheld"}


def scores(target: str, *, last: float, seen: float, untrained: float, others: float = 0.5, noise: float = 0.0) -> list:
    """Rows of four seeds, which differ by `noise` in what their activations tell at last."""
    found = []
    for seed in range(4):
        by = {
            (ACTIVATIONS, 0): untrained,
            (ACTIVATIONS, 9): last + (seed - 1.5) * noise,
            (SEEN, 9): seen,
            (OTHERS, 9): others,
        }
        for (source, step), score in by.items():
            row = {"target": target, "probe": "whole", "source": source, "step": step, "score": score}
            found.append({**WHO, "seed": seed, **row})
    return found


def effects(of: str, along_probe: float, at_random: float) -> list:
    rows = [("probe", along_probe), ("random", at_random)]
    return [
        {**WHO, "seed": seed, "of": of, "probe": "whole", "length": length, "along": along, "share": length * share}
        for seed in range(4)
        for length in (0.5, 1.0)
        for along, share in rows
    ]


def test_what_tells_more_than_every_control_is_contained():
    rows = [
        *scores("robot_path", last=0.9, seen=0.8, untrained=0.7, noise=0.01),
        *scores("person_path", last=0.9, seen=0.95, untrained=0.7),
        *scores("stopped", last=0.9, seen=0.8, untrained=0.9),
        *scores("power_off", last=0.9, seen=0.88, untrained=0.7, noise=0.1),
    ]
    (found,) = answers(rows, effects("robot_path", 0.4, 0.1) + effects("power_off", 0.9, 0.2))
    assert [part["holds"] for part in found["contains"]] == [True, False, False, False]
    gains = found["contains"][0]["more_than"]
    assert {name: round(gain["mean"], 6) for name, gain in gains.items()} == {SEEN: 0.1, UNTRAINED: 0.2, OTHERS: 0.4}
    assert [move["more_than_random"]["mean"] for move in found["moved_by"]] == pytest.approx([0.3, 0.7])
    assert [move["holds"] for move in found["moved_by"]] == [True, False], "nobody is moved by what he does not contain"
    assert found["answer"] == (
        "ppo in withheld: its activations tell more than every control of robot path (whole), "
        "and what it does is moved by robot path."
    )


def test_a_control_that_is_missing_is_not_passed_over_and_one_seed_proves_nothing():
    rows = scores("stopped", last=0.9, seen=0.8, untrained=0.7, noise=0.01)
    (found,) = answers([row for row in rows if row["step"]], [])
    assert not found["contains"][0]["holds"]
    (found,) = answers([row for row in rows if row["seed"] == 0], [])
    assert not found["contains"][0]["holds"] and found["contains"][0]["more_than"][SEEN]["mean"] == pytest.approx(0.085)
    persons = scores(PERSONS, last=0.9, seen=0.8, untrained=0.7, noise=0.01)
    (found,) = answers([row for row in persons if row["source"] != OTHERS], [])
    assert found["contains"][0]["holds"], "of persons nothing is learnt, and there are no labels of others"


def test_a_mean_has_the_interval_of_students_t():
    found = mean_of([0.1, 0.2, 0.6])
    low, high = ttest_1samp([0.1, 0.2, 0.6], 0).confidence_interval()
    assert found["ci95"] == pytest.approx([low, high]) and found["seeds"] == 3
    assert mean_of([0.4])["ci95"] == [None, None]


def test_what_is_not_known_of_one_seed_is_not_known():
    rows = scores("stopped", last=0.9, seen=0.8, untrained=0.7)
    rows[1]["score"] = None
    (found,) = answers(rows, [])
    assert not found["contains"][0]["holds"] and found["contains"][0]["more_than"][SEEN]["mean"] is None
    assert found["answer"] == (
        "ppo in withheld: its activations tell nothing that no control tells "
        "(stopped (whole): not measured in every seed), and what it does is moved by none of it."
    )
    by_source = {(row["source"], row["step"]): row["mean"] for row in over_seeds(rows, ("source", "step"), "score")}
    assert by_source[SEEN, 9] == 0.8 and by_source[ACTIVATIONS, 9] is None
    assert mean_of([0.5, 0.7])["mean"] == pytest.approx(0.6) and mean_of([])["mean"] is None
