"""Trials: back from JSON as they were, or refused in one line; an experiment's seeds fall into blocks that stay."""

import json
import math
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl.configs import LANE_DEFAULTS, Options, largest_divisor
from mbrl.experiments import EXPERIMENTS
from mbrl.experiments.base import Condition, Experiment
from mbrl.trials import Audit, Drawing, References, Training, TrainingLevels, Trial, trial_from

ROOT = Path(__file__).parents[2]
DEMO = EXPERIMENTS["demo"]
LEVELS = TrainingLevels(None, True, "withheld", 600, 3)
KINDS = {trial.label.split(" seeds")[0]: trial for trial in (*DEMO.trials(), LEVELS)}
GRID = replace(
    DEMO,
    conditions=(
        Condition("ppo", ("open",), learning_rates=(1e-3, 3e-4), gammas=(0.9, 0.97, 0.99)),
        Condition("local+exact", ("withheld",), gammas=(0.5,)),
    ),
    num_seeds=6,
    shift=None,
)  # fmt: skip


def as_json(trial: Trial) -> dict:
    return json.loads(json.dumps(trial.config))


def test_every_trial_comes_back_from_json() -> None:
    trials = [trial for experiment in (*EXPERIMENTS.values(), GRID) for trial in experiment.trials()]
    trials += [replace(trial, evaluation=None) for trial in trials if isinstance(trial, Training)] + [LEVELS]
    for trial in trials:
        back = trial_from(as_json(trial))
        assert back == trial and type(back) is type(trial)
        assert back.identity == trial.identity and back.label == trial.label
    assert {type(trial) for trial in trials} == {Drawing, TrainingLevels, References, Audit, Training}
    assert len({trial.identity for trial in trials}) == len(set(trials))


HOSTILE = st.sampled_from(
    [
        None, True, False, "", "ppo\nlocal", "__import__('os')", "\ud800", "../..", "x" * 5000, math.nan, math.inf,
        -math.inf, -0.0, 0, 1, -1, 0.5, 1e308, 2**32, 2**40, 2**40 + 1, 2**63, 10**400, -(10**400), [], {}, [[]], [1],
        [0, 1], [0.001, 0.9], [[0.001, 0.9]], [1, 2, 3], ["open"], ["open", "open"], {"task": "audit"}, {"": None},
    ]
) | st.integers() | st.floats() | st.text(max_size=5)  # fmt: skip


def places(data, path: tuple = ()) -> list[tuple]:
    items = list(data.items()) if isinstance(data, dict) else list(enumerate(data)) if isinstance(data, list) else []
    return [path, *(place for key, part in items for place in places(part, (*path, key)))]


@st.composite
def mutated(draw) -> tuple:
    """A trial's configuration in which up to three places were changed, removed or added to."""
    data = as_json(draw(st.sampled_from(list(KINDS.values()))))
    for _ in range(draw(st.integers(1, 3))):
        *above, last = draw(st.sampled_from([place for place in places(data) if place]))
        inner = data
        for key in above:
            inner = inner[key]
        match draw(st.sampled_from(["change", "remove", "add", "copy"])):
            case "change":
                inner[last] = deepcopy(draw(HOSTILE))
            case "remove":
                del inner[last]
            case "add" if isinstance(inner, dict):
                inner[draw(st.sampled_from(["steps", "__class__", "a\nb", "", "task"]))] = deepcopy(draw(HOSTILE))
            case _:
                inner[last] = deepcopy(draw(st.sampled_from(list(KINDS.values()))).config.get(last))
        if not data:
            break
    return data


def numbers_as_floats(data):
    if isinstance(data, dict):
        return {key: numbers_as_floats(part) for key, part in data.items()}
    if isinstance(data, (list, tuple)):
        return [numbers_as_floats(part) for part in data]
    return float(data) if type(data) in (int, float) else data


@given(mutated() | HOSTILE)
def test_a_changed_configuration_is_a_trial_or_one_line(data) -> None:
    try:
        trial = trial_from(data)
    except ValueError as error:
        assert str(error).isprintable() and str(error)
        return
    assert numbers_as_floats(trial.config) == numbers_as_floats(data)
    assert trial_from(as_json(trial)) == trial and trial.label.isprintable()
    assert trial.identity.isalnum()
    if isinstance(trial, Training):
        assert trial.learner.num_updates % trial.learner.chunk == 0
        assert [lane.seed for lane in trial.lanes] == list(trial.seeds)


@given(st.integers(1, 2000), st.integers(1, 3000))
def test_the_largest_divisor(number: int, bound: int) -> None:
    assert largest_divisor(number, bound) == max(k for k in range(1, bound + 1) if number % k == 0)


def test_a_large_run_is_cut_at_once() -> None:
    assert largest_divisor(2**40, 2**40) == 2**40 and largest_divisor(2**40 - 87, 2**39) > 0


def blocks(experiment: Experiment) -> dict[tuple, list[Trial]]:
    """The trials of each kind, agent and regime."""
    found: dict[tuple, list[Trial]] = {}
    for trial in experiment.trials():
        key = type(trial), getattr(trial, "agent", None), getattr(trial, "regime", None)
        found.setdefault(key, []).append(trial)
    return found


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9), st.integers(0, 2**31))
def test_seeds_fall_into_blocks_that_stay(few: int, more: int, width: int, first: int) -> None:
    small = replace(DEMO, num_seeds=few, width=width, first_seed=first)
    large = replace(small, num_seeds=few + more)
    wanted = list(range(first, first + few))
    later = {trial.identity for trial in large.trials()}
    for (kind, _, regime), trials in blocks(small).items():
        if kind in (References, Drawing):
            assert len(trials) == 1 and trials[0].identity in later
            continue
        assert regime in trials[0].label
        assert [seed for trial in trials for seed in trial.seeds] == wanted, "every seed once, in order"
        assert all(len(trial.seeds) == width for trial in trials[:-1]) and 1 <= len(trials[-1].seeds) <= width
        for trial in trials:
            assert (trial.identity in later) == (len(trial.seeds) == width)
    labels = [trial.label for trial in small.trials()]
    assert len(set(labels)) == len(labels) == len({trial.identity for trial in small.trials()})


def test_rates_are_lanes_of_a_block() -> None:
    grid = blocks(GRID)
    ppo, local = grid[Training, "ppo", "open"], grid[Training, "local+exact", "withheld"]
    assert not any(key[0] is Audit for key in grid), "nothing is audited where there is no shift"
    assert [len(trial.lanes) for trial in ppo] == [24, 12] and [len(trial.lanes) for trial in local] == [4, 2]
    lanes = [(lane.seed, lane.learning_rate, lane.gamma) for trial in ppo for lane in trial.lanes]
    assert len(set(lanes)) == 6 * 6 and {lane[1:] for lane in lanes} == {
        (r, g) for r in (1e-3, 3e-4) for g in (0.9, 0.97, 0.99)
    }
    assert {lane.learning_rate for trial in local for lane in trial.lanes} == {LANE_DEFAULTS["local+exact"][0]}
    assert GRID.conditions[0].variants[1e-3, 0.9] == "ppo lr=0.001 γ=0.9" and GRID.regimes == ("withheld", "open")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_seeds": 0}, "num_seeds"), ({"num_seeds": 10**9}, "num_seeds"), ({"first_seed": -1}, "first_seed"),
        ({"first_seed": 2**32 - 2}, "first_seed"), ({"deployment_seed": 2**32}, "seed"), ({"width": 0}, "width"),
        ({"shift": "sideways"}, "shift"), ({"num_levels": 0}, "num_levels"), ({"ppo_steps": 100}, "total_steps"),
        ({"model_steps": 0}, "steps"), ({"conditions": (Condition("ppo", ("nowhere",)),)}, "regime"),
    ],
)  # fmt: skip
def test_a_bad_experiment_is_refused_when_it_is_made(change: dict, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        replace(DEMO, **change)
    assert str(error.value).isprintable()


def test_settings_and_sweeps_need_no_jax() -> None:
    modules = "mbrl.configs, mbrl.experiments.base, mbrl.experiments, mbrl.experiments.run, mbrl.sweep, mbrl.store"
    program = f"import sys, {modules}; print('jax' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "True"] and Options() == Options(1, 60.0, False, False)
