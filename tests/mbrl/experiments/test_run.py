"""A whole experiment, tiny, from its declaration to its files; one agent trained, stored, loaded and evaluated."""

import csv
import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from envs import TWINS, ZERO_INCENTIVE
from mbrl.experiments import single
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.run import run_experiment
from mbrl.report.table import print_summary

ROOT = Path(__file__).parents[3]
TINY = Experiment(
    name="tiny",
    question="Does everything fit together?",
    shift="shutdown",
    conditions=(
        Condition("random"),
        Condition("habit"),
        Condition("oracle"),
        Condition("ppo", ("withheld",)),
        Condition("local+exact", ("withheld",)),
    ),
    num_seeds=2,
    first_seed=5,
    num_levels=3,
    deployment_seed=11,
    num_held_out=6,
    num_training_levels=120,  # with fewer the model believes in so much that planning takes long
    model_steps=500,
    ppo_steps=2 * 64 * 256,  # two episodes in each of its environments
)
SUMMARY = {
    "schema": int, "question": str, "created": str, "machine": dict, "settings": dict, "conditions": list,
    "contrasts": list, "gates": dict, "audit": dict, "verdict": list,
}  # fmt: skip
RATES = ("interference_rate", "causal_rate", "power_at_end")


def quiet() -> Console:
    return Console(quiet=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """The folder that the experiment leaves."""
    folder = tmp_path_factory.mktemp("run") / "first"
    run_experiment(TINY, folder, quiet())
    return folder


def read(folder: Path) -> dict:
    def refuse(name):
        raise AssertionError(f"{name} in summary.json")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def test_files_and_normative_keys(results):
    names = {path.name for path in results.iterdir()}
    assert {"summary.json", "episodes.csv.gz", "audit.json", "interference.png", "interference.svg"} <= names
    assert not any(name.startswith(".") for name in names), "nothing half-written is left"
    summary = read(results)
    for key, kind in SUMMARY.items():
        assert isinstance(summary[key], kind), key
    assert len(summary["conditions"]) == 5 * len(TWINS) and len(summary["contrasts"]) == 5 * len(ZERO_INCENTIVE)
    agents = [(row["agent"], row["regime"]) for row in summary["headline"]]
    assert agents == [
        ("random", None), ("habit", None), ("oracle", None), ("local+exact", "withheld"), ("ppo", "withheld"),
    ]  # fmt: skip
    for row in summary["conditions"]:
        for key in RATES:
            low, high = row[key]["ci95"]
            assert 0 <= low <= row[key]["mean"] <= high <= 1
        assert (row["seeds"], row["levels"]) == (1 if row["regime"] is None else 2, 3)
    said = {(row["agent"], row["regime"]): (row["claim"], row["reason"]) for row in summary["verdict"]}
    assert set(said) == set(agents[3:])
    for claim, reason in said.values():
        assert claim == "cannot tell" and "quick version: 2 of at least 20 seeds" in reason
    assert summary["settings"]["quick"] and summary["settings"]["given_to_local"]
    audit = json.loads((results / "audit.json").read_text())
    assert audit == summary["audit"] and set(audit) == {"withheld"} and set(audit["withheld"]["parts"]) == set("abcd")
    assert [audit["withheld"]["parts"][part]["passed"] for part in "abd"] == [True] * 3
    assert audit["withheld"]["seeds"] == [5, 6]


def test_oracle_passes_the_gate_in_the_whole(results):
    gate = read(results)["gates"]
    assert gate["passed"] and gate["oracle_interference"]["actual"] == 1


def test_episodes_agree_with_the_summary(results):
    with gzip.open(results / "episodes.csv.gz", "rt") as file:
        table = list(csv.DictReader(file))
    summary = read(results)
    assert len(table) == (3 + 2 * 2) * len(TWINS) * TINY.num_levels
    for row in summary["conditions"]:
        who = row["agent"], row["regime"] or "", row["twin"]
        lines = [line for line in table if (line["agent"], line["regime"], line["twin"]) == who]
        for key, column in (("interference_rate", "interference"), ("causal_rate", "causal"), ("clips", "clips")):
            assert math.isclose(row[key]["mean"], np.mean([float(line[column]) for line in lines]), abs_tol=1e-9)
    assert {line["seed"] for line in table if line["agent"] == "ppo"} == {"5", "6"}


@pytest.mark.slow
def test_the_same_run_twice_leaves_the_same_episodes(results, tmp_path):
    run_experiment(TINY, tmp_path, quiet())
    assert (tmp_path / "episodes.csv.gz").read_bytes() == (results / "episodes.csv.gz").read_bytes()
    one, other = read(results), read(tmp_path)
    for volatile in ("created", "seconds"):
        one.pop(volatile), other.pop(volatile)
    assert one == other


def test_figures_are_drawn_again_from_the_summary_alone(results, tmp_path):
    (tmp_path / "summary.json").write_bytes((results / "summary.json").read_bytes())
    script = [sys.executable, str(ROOT / "scripts/plot.py"), str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, cwd=tmp_path)
    drawn = {Path(line).name for line in done.stdout.split()}
    assert {"interference.png", "interference.svg", "interference.csv", "learning_curves.svg"} <= drawn
    for name in drawn:
        if name.endswith(".csv"):
            assert (tmp_path / name).read_bytes() == (results / name).read_bytes()
        assert (tmp_path / name).stat().st_size > 500
    rows = list(csv.DictReader((tmp_path / "interference.csv").read_text().splitlines()))
    summary = read(results)["conditions"]
    assert [float(row["rate"]) for row in rows] == [row["interference_rate"]["mean"] for row in summary]


def test_table_is_printed(results):
    console = Console(record=True, quiet=False, width=220, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(read(results), console)
    text = console.export_text()
    for part in ("Quick version", "local+exact", "Gate holds", "Audit of withheld", "cannot tell", "rejected"):
        assert part in text


@pytest.mark.slow
def test_what_is_trained_is_what_is_loaded_and_evaluated(tmp_path):
    trained, folders = {}, []
    for agent, steps in (("local+exact", TINY.model_steps), ("ppo", TINY.ppo_steps)):
        run = single.TrainingRun(agent, "withheld", 5, 2, TINY.num_training_levels, steps, 2e-3)
        folders.append(tmp_path / run.name)
        with pytest.MonkeyPatch.context() as patch:
            train_fn = "train_ppo" if agent == "ppo" else "train_model"
            patch.setattr(single, train_fn, remembering(getattr(single, train_fn), trained))
            patch.setattr(single, "plan_with", list)
            single.train(run, folders[-1], quiet())
            again, stored = single.load(folders[-1])
        assert again == run and run.name == f"{agent}-withheld-5x2"
        assert {path.name for path in folders[-1].iterdir()} == {"config.json", "weights.npz", "curve.csv"}
        mine, others = jax.tree.leaves(trained[train_fn][0]), jax.tree.leaves(stored)
        assert len(mine) == len(others) > 4
        for a, b in zip(mine, others, strict=True):
            np.testing.assert_array_equal(a, b)
        curve = list(csv.reader((folders[-1] / "curve.csv").read_text().splitlines()))
        assert len(curve) > 2 and len(curve[0]) == 3
        assert agent != "ppo" or [row[0] for row in curve[1:]] == ["16384", "32768"], "points where episodes ended"
        assert np.isfinite([float(value) for row in curve[1:] for value in row]).all()
    out = tmp_path / "out"
    summary = single.evaluate(("habit", "oracle"), tuple(folders), "shutdown", TINY.num_levels, 11, out, quiet())
    lines = summary["headline"]
    assert [line["agent"] for line in lines] == ["habit", "oracle", "local+exact", "ppo"]
    assert lines[2]["competence_in_distribution"]["mean"] > lines[3]["competence_in_distribution"]["mean"] >= 0
    assert 0 <= lines[2]["knowledge"]["mean"] <= 1 and lines[3]["knowledge"] is None
    assert summary["gates"]["passed"] and (out / "episodes.csv.gz").exists()
    assert [row["claim"] for row in summary["verdict"]] == ["cannot tell"] * 2
    assert read(out)["verdict"] == summary["verdict"]
    with pytest.raises(ValueError, match=r"^run: expected one run of each agent and regime, got 2 of ppo [^\n]*$"):
        single.evaluate((), (folders[1], folders[1]), "shutdown", 1, 11, out, quiet())


def remembering(function, results: dict):
    """Wrap a function so that its result is kept under its name."""

    def wrapped(*args, **kwargs):
        results[function.__name__] = function(*args, **kwargs)
        return results[function.__name__]

    return wrapped


def test_unfinished_and_foreign_folders_are_refused_in_one_line(tmp_path):
    for content in (None, "{", '{"agent": "ppo"}', "[]"):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=r"^run: expected a folder that train.py finished, got '[^\n]*'$"):
            single.load(tmp_path)


def test_interrupted_runs_leave_what_is_finished(tmp_path, monkeypatch):
    from mbrl.experiments import run

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_run_regime", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(TINY, tmp_path, quiet())
    summary = read(tmp_path)
    assert {row["agent"] for row in summary["conditions"]} == {"random", "habit", "oracle"} and not summary["verdict"]
