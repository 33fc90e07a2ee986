"""A whole experiment, tiny, from its declaration to its files; one agent trained, stored, loaded and evaluated.

Trials are computed in this process, so that they share what is compiled; how processes share them is tested elsewhere.
"""

import csv
import gzip
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

import mbrl
from mbrl.configs import EvaluationConfig, Options
from mbrl.experiments import single, work
from mbrl.experiments.deploy import load_models
from mbrl.experiments.run import run_experiment
from mbrl.metrics import read_rows
from mbrl.report.figures import redraw
from mbrl.report.table import print_summary
from mbrl.store import Store, damages
from mbrl.verification import verify_folder
from tests.helpers import SHUTDOWN_TWINS, ZERO_TWINS
from tests.mbrl.experiments.tiny import TINY, TRIALS, lasting, quiet, read, trial_of
from tests.scripts import run_script

SUMMARY = {
    "schema": int, "question": str, "created": str, "machine": dict, "settings": dict, "conditions": list,
    "contrasts": list, "gates": dict, "audit": dict, "verdict": list, "headline": list, "learning_curves": list,
    "trials": list, "failed_lanes": list, "unfinished": list, "mixed": dict,
}  # fmt: skip
RATES = ("interference_rate", "causal_rate", "power_at_end")


def test_files_and_normative_keys(runs, results):
    names = {path.name for path in results.iterdir()}
    assert {"summary.json", "episodes.csv.gz", "audit.json", "interference.png", "interference.svg"} <= names
    assert not any(name.startswith(".") for name in names), "nothing half-written is left"
    assert [path for path in (runs / "work").iterdir()] == [], "nor anything of the work"
    summary = read(results)
    for key, kind in SUMMARY.items():
        assert isinstance(summary[key], kind), key
    assert len(summary["conditions"]) == 5 * len(SHUTDOWN_TWINS) and len(summary["contrasts"]) == 5 * len(ZERO_TWINS)
    agents = [(row["agent"], row["regime"]) for row in summary["headline"]]
    assert agents == [
        ("random", None), ("habit", None), ("oracle", None), ("ppo", "withheld"), ("local+exact", "withheld"),
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
    assert summary["unfinished"] == summary["failed_lanes"] == [] and summary["mixed"] == {}
    assert [part["trial"] for part in summary["trials"]] == [trial.identity for trial in TRIALS]
    curves = {curve["agent"]: curve for curve in summary["learning_curves"]}
    assert (curves["ppo"]["column"], curves["local+exact"]["column"]) == ("return", "loss")
    for curve in curves.values():
        assert curve["seeds"] == [5, 6] and np.isfinite(curve["values"]).all()
        assert np.shape(curve["values"]) == (2, len(curve["steps"])) and curve["steps"]
    assert curves["ppo"]["steps"][-1] == TINY.ppo_steps and curves["local+exact"]["steps"][-1] == TINY.model_steps


def test_audit_is_of_what_all_agents_learn_from(results):
    summary = read(results)
    audit = json.loads((results / "audit.json").read_text())
    assert audit == summary["audit"] and set(audit) == {"withheld"} and set(audit["withheld"]["parts"]) == set("abcd")
    assert [audit["withheld"]["parts"][part]["passed"] for part in "abd"] == [True] * 3
    assert audit["withheld"]["seeds"] == [5, 6]
    counts, seen = audit["withheld"]["counts"], audit["withheld"]["parts"]["c"]
    episodes = 3 * 8 * 120  # of three policies, in eight rounds, on every level
    assert set(counts) == {"ppo", "local+exact"}
    assert counts["local+exact"]["transitions"] == 2 * episodes * 64
    assert counts["ppo"]["transitions"] == 2 * TINY.ppo_steps
    assert seen["checked"] == sum(events["transitions"] for events in counts.values())
    assert all(line.startswith(("ppo, seed ", "local+exact, seed ")) for line in seen["findings"])
    assert not any("expected never" in line for line in seen["findings"])
    clean = {agent: not any(line.startswith(f"{agent}, ") for line in seen["findings"]) for agent in counts}
    assert audit["withheld"]["clean_for"] == clean and audit["withheld"]["clean"] == all(clean.values())


def test_what_is_left_verifies(runs, results):
    found = dict(verify_folder(runs))
    assert {trial.identity for trial in TRIALS} <= {Path(folder).name for folder in found} and str(results) in found
    assert [line for lines in found.values() for line in lines] == []


def test_oracle_passes_the_gate_in_the_whole(results):
    gate = read(results)["gates"]
    assert gate["passed"] and gate["oracle_interference"]["actual"] == 1


def test_episodes_agree_with_the_summary(results):
    with gzip.open(results / "episodes.csv.gz", "rt") as file:
        table = list(csv.DictReader(file))
    summary = read(results)
    assert len(table) == (3 + 2 * 2) * len(SHUTDOWN_TWINS) * TINY.num_levels
    for row in summary["conditions"]:
        who = row["agent"], row["regime"] or "", row["twin"]
        lines = [line for line in table if (line["agent"], line["regime"], line["twin"]) == who]
        for key, column in (("interference_rate", "interference"), ("causal_rate", "causal"), ("clips", "clips")):
            assert math.isclose(row[key]["mean"], np.mean([float(line[column]) for line in lines]), abs_tol=1e-9)
    assert {line["seed"] for line in table if line["agent"] == "ppo"} == {"5", "6"}


@pytest.mark.slow
def test_the_same_run_twice_leaves_the_same(results, tmp_path):
    run_experiment(TINY, tmp_path, tmp_path / "again", quiet())
    assert (tmp_path / "again" / "episodes.csv.gz").read_bytes() == (results / "episodes.csv.gz").read_bytes()
    assert lasting(read(tmp_path / "again")) == lasting(read(results)), "the digests of all trials included"


def test_figures_are_drawn_again_from_the_summary_alone(results, tmp_path):
    (tmp_path / "summary.json").write_bytes((results / "summary.json").read_bytes())
    done = run_script("plot", tmp_path)
    drawn = {Path(line).name for line in done.stdout.split()}
    assert {"interference.png", "interference.svg", "interference.csv", "learning_curves.svg"} <= drawn
    for name in drawn:
        if name.endswith(".csv"):
            assert (tmp_path / name).read_bytes() == (results / name).read_bytes()
        assert (tmp_path / name).stat().st_size > (50 if name.endswith(".csv") else 500)
    rows = list(csv.DictReader((tmp_path / "interference.csv").read_text().splitlines()))
    summary = read(results)["conditions"]
    assert [float(row["rate"]) for row in rows] == [row["interference_rate"]["mean"] for row in summary]


def test_figures_drawn_again_in_their_place_are_sealed(results, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(results, folder)
    (folder / "interference.png").unlink()
    assert len(damages(folder)) == 1
    assert {path.name for path in redraw(folder, folder)} >= {"interference.png", "interference.csv"}
    assert damages(folder) == []
    assert (folder / "interference.csv").read_bytes() == (results / "interference.csv").read_bytes()
    (folder / "summary.json").write_text((folder / "summary.json").read_text().replace("tiny", "tine"))
    with pytest.raises(ValueError, match=r"^[^\n]*summary.json is damaged[^\n]*$"):
        redraw(folder, folder)


def test_table_is_printed(results):
    console = Console(record=True, quiet=False, width=220, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(read(results), console)
    text = console.export_text()
    for part in ("Quick version", "local+exact", "Gate holds", "Audit of withheld", "cannot tell", "rejected"):
        assert part in text


@pytest.mark.slow
def test_what_is_trained_is_what_is_loaded_and_evaluated(runs, tmp_path):
    folders, store = [], Store(tmp_path)
    for agent in ("local+exact", "ppo"):
        trial, trained = replace(trial_of(agent), evaluation=None), {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(work, "_train_agent", remembering(work._train_agent, trained))
            manifest = single.train(trial, tmp_path, Options(), quiet())
        assert manifest is not None and single.open_run(manifest.folder) == (trial, manifest)
        folders.append(manifest.folder)
        assert set(manifest.files) == {"lanes.json", "weights.safetensors", "metrics.jsonl", "record.json"}
        stored = load_models(trial, manifest.read("weights.safetensors"))
        mine, others = jax.tree.leaves(trained["_train_agent"].model), jax.tree.leaves(stored)
        assert len(mine) == len(others) > 4
        for a, b in zip(mine, others, strict=True):
            np.testing.assert_array_equal(a, b)
        rows = read_rows(manifest.read("metrics.jsonl"))
        steps = [TINY.ppo_steps] if agent == "ppo" else list(range(50, TINY.model_steps + 1, 50))
        assert [(row["step"], row["seed"]) for row in rows] == [(step, seed) for seed in (5, 6) for step in steps]
        assert np.isfinite([value for row in rows for value in row.values()]).all()
        policy = mbrl.load_policy(manifest.folder, 6)
        result = mbrl.evaluate(policy, num_levels=2, seed=5)
        assert [row["twin"] for row in result.conditions] == list(SHUTDOWN_TWINS)
        assert result["no_human"]["clips"]["mean"] > 0 or agent == "ppo"
    out = tmp_path / "out"
    evaluation = EvaluationConfig("shutdown", TINY.num_levels, 11, TINY.num_held_out)
    summary = single.evaluate(("habit", "oracle"), folders, evaluation, tmp_path, out, quiet())
    lines = summary["headline"]
    assert [line["agent"] for line in lines] == ["habit", "oracle", "local+exact", "ppo"]
    assert lines[2]["competence_in_distribution"]["mean"] > lines[3]["competence_in_distribution"]["mean"] >= 0
    assert 0 <= lines[2]["knowledge"]["mean"] <= 1 and lines[3]["knowledge"] is None
    assert summary["gates"]["passed"] and (out / "episodes.csv.gz").exists()
    assert [row["claim"] for row in summary["verdict"]] == ["cannot tell"] * 2
    assert read(out)["verdict"] == summary["verdict"]
    assert [line for _, lines in verify_folder(tmp_path) for line in lines] == []
    for agent in ("local+exact", "ppo"):
        whole, parted = (found.verify(trial_of(agent).identity) for found in (Store(runs), store))
        assert whole.digest == parted.digest, "in two steps as in one"
    with pytest.raises(ValueError, match=r"^run: expected one run of each agent and regime, got two of ppo [^\n]*$"):
        single.evaluate((), (folders[1], folders[1]), evaluation, tmp_path, out, quiet())


def remembering(function, results: dict):
    """Wrap a function so that its result is kept under its name."""

    def wrapped(*args, **kwargs):
        results[function.__name__] = function(*args, **kwargs)
        return results[function.__name__]

    return wrapped


def test_a_policy_is_loaded_by_its_seed(runs):
    folder, store = runs / "trials" / trial_of("ppo").identity, Store(runs)
    stored = load_models(trial_of("ppo"), store.verify(folder.name).read("weights.safetensors"))
    for seed, lane in ((5, 0), (6, 1), (None, 0)):
        policy = mbrl.load_policy(folder, seed)
        for mine, all_lanes in zip(jax.tree.leaves(policy), jax.tree.leaves(stored), strict=True):
            np.testing.assert_array_equal(mine, all_lanes[lane])
    assert len(mbrl.load_policy(runs / "trials" / trial_of("local+exact").identity, 6).planners) == 1
    with pytest.raises(ValueError, match=r"^seed: expected one of 5, 6, got 7$"):
        mbrl.load_policy(folder, 7)
