"""A finished run, probed: from its folder to an answer, and back from the files."""

import json

import pytest
from rich.console import Console

from mbrl.evaluation.answers import OTHERS, PERSONS, SEEN
from mbrl.experiments.probing import probe_runs
from mbrl.report.table import print_probes
from mbrl.verification import verify_folder
from tests.mbrl.experiments.tiny import TINY, trial_of
from tests.scripts import run_script


@pytest.mark.slow
def test_a_run_is_probed_from_its_folder_to_an_answer(runs, tmp_path):
    folder = runs / "trials" / trial_of("ppo").identity
    found = probe_runs([folder], 32, 4, 11, tmp_path / "probes")
    assert json.loads((tmp_path / "probes" / "probes.json").read_text()) == found
    steps = {row["step"] for row in found["table"] if row["source"] == "activations"}
    assert {0, TINY.ppo_steps} <= steps
    targets = {"robot_path", "person_path", "power_off", "stopped", PERSONS}
    assert {row["target"] for row in found["table"]} == targets and {row["seeds"] for row in found["table"]} == {2}
    path = {row["source"]: row["mean"] for row in found["table"] if row["target"] == "robot_path" and row["step"]}
    assert path[OTHERS] < path[SEEN]
    assert {row["of"] for row in found["effects"]} == {"robot_path", "power_off"}
    console = Console(record=True, width=120)
    print_probes(found, console)
    assert found["answers"][0]["answer"] in console.export_text().replace("\n", " ")
    assert [*verify_folder(tmp_path / "probes")] == [(str(tmp_path / "probes"), [])]
    with pytest.raises(ValueError, match="withheld 5 twice"):
        probe_runs([folder, folder], 32, 4, 11, tmp_path / "probes")


def test_runs_that_cannot_be_probed_are_refused_in_one_line(runs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="expected one of ppo"):
        probe_runs([runs / "trials" / trial_of("local+exact").identity], 8, 4, 0, tmp_path)
    monkeypatch.delenv("PAPERCLIP_TRACEBACK", raising=False)
    for words in ([], [tmp_path], [tmp_path, "--num-levels", 2]):
        done = run_script("probe", *words)
        assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
