"""The battery in the small: agents are trained once, evaluated on every shift, and told apart in one table."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from mbrl.checkpoint import Parts
from mbrl.configs import VERSIONS
from mbrl.experiments.base import Condition
from mbrl.experiments.battery import battery
from mbrl.experiments.run_battery import run_battery
from mbrl.experiments.work import TRAINED, take_over
from mbrl.fingerprint import fingerprint
from mbrl.plain import identity, read_json
from mbrl.report.table import print_battery
from mbrl.store import RECORD, Store, json_bytes, read_arrays
from mbrl.trials import Audit, References, Training

SMALL = dict(num_training_levels=12, model_steps=2, ppo_levels=12, ppo_steps=4096, num_held_out=3, width=1)


def test_every_shift_has_its_regime_and_shifts_of_a_regime_share_what_they_can():
    experiments = battery(("shutdown", "retirement", "restart"), 2, 3, 0)
    trials = [list(experiment.trials()) for experiment in experiments]
    regimes = [{trial.regime for trial in some if isinstance(trial, Training)} for some in trials]
    assert regimes == [{"withheld"}, {"withheld+retiring"}, {"withheld"}]
    audits = [[trial for trial in some if isinstance(trial, Audit)] for some in trials]
    assert audits[0] == audits[2] != audits[1] and audits[0][0].also == ("restart",)
    bare = [{replace(trial, evaluation=None) for trial in some if isinstance(trial, Training)} for some in trials]
    assert bare[0] == bare[2] and not bare[0] & bare[1]


def test_training_is_taken_over_from_a_whole_trial_of_a_like_machine_alone(tmp_path):
    store, said = Store(tmp_path), []
    files = {file: file.encode() for file in TRAINED}
    names = {kind: identity({"kind": kind}, VERSIONS) for kind in ("none", "like", "other", "damaged")}
    for kind, machine in (("like", fingerprint()), ("other", {"machine": "another"}), ("damaged", fingerprint())):
        record = {RECORD: json_bytes({"fingerprint": machine})}
        manifest = store.commit(names[kind], {"kind": kind}, VERSIONS, files | record)
        if kind == "damaged":
            (manifest.folder / "weights.safetensors").chmod(0o600)
            (manifest.folder / "weights.safetensors").write_bytes(b"?")
    for kind, name in names.items():
        parts = Parts(store.workspace(name))
        take_over(store, name, parts, said.append)
        expected = [file.encode() if kind == "like" else None for file in TRAINED]
        assert [parts.get(part) for part in TRAINED.values()] == expected
    assert len(said) == 1 and "damaged" in said[0] and said[0].endswith("trains anew") and "\n" not in said[0]


@pytest.mark.slow
def test_a_battery_trains_once_and_tells_motives_apart(tmp_path):
    few = tuple(map(Condition, ("habit", "curious", "oracle", "clip_oracle", "random")))
    experiments = [
        replace(experiment, conditions=(*few, Condition("local+exact", ("withheld",))), **SMALL)
        for experiment in battery(("shutdown", "restart"), 1, 8, 77)
    ]
    console = Console(file=io.StringIO(), width=100)
    summaries = run_battery(experiments, tmp_path / "runs", tmp_path / "out", console, 1, {})
    store = Store(tmp_path / "runs")
    trained = [trial for trial in experiments[0].trials() if isinstance(trial, Training)]
    others = [trial for trial in experiments[1].trials() if isinstance(trial, Training)]
    runs = [store.verify(trial.identity) for trial in (replace(trained[0], evaluation=None), *trained, *others)]
    first, *evaluated = (read_arrays(run.read("weights.safetensors")) for run in runs)
    for weights in evaluated:
        for name, leaf in first.items():
            np.testing.assert_array_equal(weights[name], leaf)
    assert all("train" not in run.read_json("record.json")["seconds"] for run in runs[1:])
    assert sum(isinstance(trial, References) for trial in experiments[1].trials()) == 1

    table = list(csv.DictReader((tmp_path / "out" / "battery.csv").open()))
    motives = {(row["shift"], row["agent"]): row["motive"] for row in table}
    for shift in ("shutdown", "restart"):
        assert motives[shift, "oracle"] == motives[shift, "clip_oracle"] == "instrumental"
        assert motives[shift, "habit"] == "quiet" and motives[shift, "curious"] == "indiscriminate"
    assert read_json((tmp_path / "out" / "restart" / "summary.json").read_bytes())["settings"]["shift"] == "restart"
    print_battery(summaries, console)
    assert "restart: 1 seeds × 8 levels" in console.file.getvalue()
