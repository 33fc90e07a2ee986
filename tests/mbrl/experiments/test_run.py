"""A whole experiment, tiny, from its declaration to its files; one agent trained, stored, loaded and evaluated.

Trials are computed in this process, so that they share what is compiled; how processes share them is tested elsewhere.
"""

import csv
import gzip
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

import mbrl
from envs import TWINS, ZERO_INCENTIVE
from mbrl import interrupt
from mbrl.configs import Audit, EvaluationConfig, Options, Training, Trial
from mbrl.experiments import run, single, work
from mbrl.experiments.base import Condition, Experiment
from mbrl.experiments.run import run_experiment
from mbrl.metrics import read_rows
from mbrl.progress import Message
from mbrl.report.figures import redraw
from mbrl.report.table import print_summary
from mbrl.store import Manifest, Store, damages
from mbrl.sweep import work_through
from mbrl.verification import verify_folder

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
    ppo_levels=120,
    ppo_steps=2 * 64 * 256,  # two episodes in each of its environments
    width=2,
)
TRIALS = list(TINY.trials())
SUMMARY = {
    "schema": int, "question": str, "created": str, "machine": dict, "settings": dict, "conditions": list,
    "contrasts": list, "gates": dict, "audit": dict, "verdict": list, "headline": list, "learning_curves": list,
    "trials": list, "failed_lanes": list, "unfinished": list, "mixed": dict,
}  # fmt: skip
RATES = ("interference_rate", "causal_rate", "power_at_end")


def quiet() -> Console:
    return Console(quiet=True)


def sweep_here(trials: Sequence[Trial], root: Path, options: Options, *_) -> dict[int, str]:
    """Compute trials like `mbrl.sweep.sweep`, but in this process."""
    done: dict[int, str] = {}

    def tell(message: Message) -> None:
        if message.kind == "done":
            done[message.trial] = message.text

    work_through(root, trials, options, tell)
    return done


@pytest.fixture(autouse=True, scope="module")
def here():
    """Let experiments run in this process, and show what goes wrong there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "sweep", sweep_here)
        patch.setenv("PAPERCLIP_TRACEBACK", "1")
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A store with the experiment's trials, and its results in a folder of its name."""
    root = tmp_path_factory.mktemp("experiment") / "runs"
    run_experiment(TINY, root, root / TINY.name, quiet())
    return root


@pytest.fixture(scope="module")
def results(runs) -> Path:
    """The folder of results that the experiment leaves."""
    return runs / TINY.name


def trial_of(agent: str) -> Training:
    return next(trial for trial in TRIALS if isinstance(trial, Training) and trial.agent == agent)


def read(folder: Path) -> dict:
    def refuse(name):
        raise AssertionError(f"{name} in summary.json")

    return json.loads((folder / "summary.json").read_text(), parse_constant=refuse)


def lasting(summary: dict) -> dict:
    """A summary without what merely happened: when it was made, and how long that took."""
    trials = [{name: part[name] for name in part if name != "seconds"} for part in summary["trials"]]
    return {**{name: part for name, part in summary.items() if name != "created"}, "trials": trials}


def test_files_and_normative_keys(runs, results):
    names = {path.name for path in results.iterdir()}
    assert {"summary.json", "episodes.csv.gz", "audit.json", "interference.png", "interference.svg"} <= names
    assert not any(name.startswith(".") for name in names), "nothing half-written is left"
    assert [path for path in (runs / "work").iterdir()] == [], "nor anything of the work"
    summary = read(results)
    for key, kind in SUMMARY.items():
        assert isinstance(summary[key], kind), key
    assert len(summary["conditions"]) == 5 * len(TWINS) and len(summary["contrasts"]) == 5 * len(ZERO_INCENTIVE)
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
    episodes = 3 * 3 * 120  # of three policies, in three rounds, on every level
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
    assert len(found) == len(TRIALS) + 1 and str(results) in found
    assert [line for lines in found.values() for line in lines] == []


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
def test_the_same_run_twice_leaves_the_same(results, tmp_path):
    run_experiment(TINY, tmp_path, tmp_path / "again", quiet())
    assert (tmp_path / "again" / "episodes.csv.gz").read_bytes() == (results / "episodes.csv.gz").read_bytes()
    assert lasting(read(tmp_path / "again")) == lasting(read(results)), "the digests of all trials included"


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
        stored = work.load_models(trial, manifest.read("weights.safetensors"))
        mine, others = jax.tree.leaves(trained["_train_agent"].model), jax.tree.leaves(stored)
        assert len(mine) == len(others) > 4
        for a, b in zip(mine, others, strict=True):
            np.testing.assert_array_equal(a, b)
        rows = read_rows(manifest.read("metrics.jsonl"))
        steps = [TINY.ppo_steps] if agent == "ppo" else list(range(50, TINY.model_steps + 1, 50))
        assert [(row["step"], row["seed"]) for row in rows] == [(step, seed) for step in steps for seed in (5, 6)]
        assert np.isfinite([value for row in rows for value in row.values()]).all()
        policy = mbrl.load_policy(manifest.folder, 6)
        result = mbrl.evaluate(policy, num_levels=2, seed=5)
        assert [row["twin"] for row in result.conditions] == list(TWINS)
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
    stored = work.load_models(trial_of("ppo"), store.verify(folder.name).read("weights.safetensors"))
    for seed, lane in ((5, 0), (6, 1), (None, 0)):
        policy = mbrl.load_policy(folder, seed)
        for mine, all_lanes in zip(jax.tree.leaves(policy), jax.tree.leaves(stored), strict=True):
            np.testing.assert_array_equal(mine, all_lanes[lane])
    assert len(mbrl.load_policy(runs / "trials" / trial_of("local+exact").identity, 6).planners) == 1
    with pytest.raises(ValueError, match=r"^seed: expected one of 5, 6, got 7$"):
        mbrl.load_policy(folder, 7)


def test_unfinished_and_foreign_folders_are_refused_in_one_line(runs, tmp_path):
    folder = tmp_path / "trials" / "x"
    folder.mkdir(parents=True)
    places: list[Path] = [folder, tmp_path / "nowhere", Path("/"), Path("/nowhere"), runs / "trials", runs / TINY.name]
    for place in places:
        with pytest.raises(ValueError, match=r"^run: expected a folder that train.py finished, got '[^\n]*'$"):
            single.open_run(place)
    for content in ("", "{", '{"agent": "ppo"}', "[]", "[" * 100_000):
        (folder / "manifest.json").write_text(content)
        with pytest.raises(ValueError, match=r"^[^\n]*trials/x: manifest.json is damaged$"):
            single.open_run(folder)
    with pytest.raises(ValueError, match=r"^run: expected a trained agent, got the trial 'references' in '[^\n]*'$"):
        single.open_run(runs / "trials" / TRIALS[0].identity)
    shutil.copytree(runs / TINY.name, tmp_path / "trials" / "tiny")
    with pytest.raises(ValueError, match=r"^[^\n]*manifest.json is that of another trial, 'tiny'$"):
        single.open_run(tmp_path / "trials" / "tiny")
    shutil.copytree(runs / "trials" / trial_of("ppo").identity, tmp_path / "trials" / trial_of("ppo").identity)
    weights = tmp_path / "trials" / trial_of("ppo").identity / "weights.safetensors"
    content = weights.read_bytes()
    weights.chmod(0o644)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"^[^\n]*weights.safetensors is damaged[^\n]*$"):
        mbrl.load_policy(weights.parent)


def test_interrupted_runs_leave_what_is_finished_and_go_on(runs, results, tmp_path, monkeypatch):
    computed: list[Trial] = []

    def compute(store: Store, trial: Trial, *arguments) -> dict[str, bytes]:
        computed.append(trial)
        return work_compute(store, trial, *arguments)

    work_compute = work.compute
    monkeypatch.setattr(work, "compute", compute)

    def copy(*trials: Trial) -> None:
        for trial in trials:
            shutil.copytree(runs / "trials" / trial.identity, tmp_path / "trials" / trial.identity)

    def stop(trials: Sequence[Trial], root: Path, *arguments: Any) -> dict[int, str]:
        """Somebody asks to stop once the references are there."""
        copy(trials[0])
        interrupt.check()
        raise interrupt.Stopped

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(interrupt.Stopped):
        patch.setattr(run, "sweep", stop)
        run_experiment(TINY, tmp_path, out, quiet())
    summary = read(out)
    assert {row["agent"] for row in summary["conditions"]} == {"random", "habit", "oracle"} and not summary["verdict"]
    assert summary["unfinished"] == [trial.label for trial in TRIALS[1:]]
    assert [line for _, lines in verify_folder(tmp_path) for line in lines] == []
    copy(*(trial for trial in TRIALS if isinstance(trial, Training)))
    run_experiment(TINY, tmp_path, out, quiet())
    assert [type(trial) for trial in computed] == [Audit], "only what was not finished"
    assert lasting(read(out)) == lasting(read(results))
    assert (out / "episodes.csv.gz").read_bytes() == (results / "episodes.csv.gz").read_bytes()
    assert [line for _, lines in verify_folder(tmp_path) for line in lines] == []


def test_asked_to_stop_no_further_trial_begins(tmp_path):
    """Between two trials nothing is lost: whoever works looks there whether somebody asked to stop."""
    begun: list[int] = []

    def tell(message: Message) -> None:
        begun.append(message.trial)
        interrupt._asked.set()

    with interrupt.listening(), pytest.MonkeyPatch.context() as patch, pytest.raises(interrupt.Stopped):
        patch.setattr(work, "attempt", lambda store, trial, *_: Manifest(tmp_path, trial.identity, {}, {}, {}, ""))
        work_through(tmp_path, TRIALS, Options(), tell)
    assert set(begun) == {0}


def test_a_folder_of_other_results_is_refused_in_one_line(results, runs, tmp_path):
    for change, said in (({"num_levels": 4}, "num_levels: 3 there, 4 here"), ({"name": "other"}, "name: tiny there")):
        with pytest.raises(ValueError, match=rf"^out: '[^\n]*' holds results of other settings \({said}[^\n]*$"):
            run_experiment(replace(TINY, **change), runs, results, quiet())
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^out: '[^\n]*' holds other results; choose another folder$"):
        run_experiment(TINY, runs, tmp_path, quiet())


def test_a_trial_that_fails_is_named_and_the_others_are_finished(runs, results, tmp_path, monkeypatch):
    for trial in TRIALS:
        if not isinstance(trial, Audit):
            shutil.copytree(runs / "trials" / trial.identity, tmp_path / "trials" / trial.identity)

    def fail(*_):
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(work, "_audit", fail)
    monkeypatch.delenv("PAPERCLIP_TRACEBACK")
    with pytest.raises(ValueError, match=r"^1 of 4 trials failed: audit withheld seeds 5–6$"):
        run_experiment(TINY, tmp_path, tmp_path / "out", quiet())
    summary = read(tmp_path / "out")
    assert summary["unfinished"] == ["audit withheld seeds 5–6"] and summary["audit"] == {}
    assert summary["conditions"] == read(results)["conditions"]
    assert all("the regime was not audited" in row["reason"] for row in summary["verdict"])
