"""What becomes of an experiment that is stopped, fails or is asked for wrongly: one line, and nothing is lost."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mbrl
from mbrl import interrupt
from mbrl.configs import Options
from mbrl.experiments import run, single, work
from mbrl.experiments.run import run_experiment
from mbrl.progress import Message
from mbrl.store import Manifest, Store
from mbrl.sweep import work_through
from mbrl.trials import Audit, Training, TrainingLevels, Trial
from mbrl.verification import verify_folder
from tests.mbrl.experiments.tiny import TINY, TRIALS, lasting, quiet, read, trial_of


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
    with pytest.raises(ValueError, match=r"^run: expected a trained agent, got the trial 'references [^\n]*$"):
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


@pytest.mark.slow
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
        """Somebody asks to stop once the levels and the references are there."""
        copy(trials[0], trials[-1])
        interrupt.check()
        raise interrupt.Stopped

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(interrupt.Stopped):
        patch.setattr(run, "sweep", stop)
        run_experiment(TINY, tmp_path, out, quiet())
    summary = read(out)
    assert {row["agent"] for row in summary["conditions"]} == {"random", "habit", "oracle"} and not summary["verdict"]
    assert summary["unfinished"] == [trial.label for trial in TRIALS[1:-1]]
    assert [line for _, lines in verify_folder(tmp_path) for line in lines] == []
    copy(*(trial for trial in TRIALS if isinstance(trial, Training)))
    run_experiment(TINY, tmp_path, out, quiet())
    assert [type(trial) for trial in computed] == [Audit, TrainingLevels, TrainingLevels], "only what was not finished"
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
    with pytest.raises(ValueError, match=r"^1 of 5 trials failed: audit withheld seeds 5–6$"):
        run_experiment(TINY, tmp_path, tmp_path / "out", quiet())
    summary = read(tmp_path / "out")
    assert summary["unfinished"] == ["audit withheld seeds 5–6"] and summary["audit"] == {}
    assert summary["conditions"] == read(results)["conditions"]
    assert all("the regime was not audited" in row["reason"] for row in summary["verdict"])
