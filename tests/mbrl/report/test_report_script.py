"""The script: reports as files, tables and episodes in the terminal, and one line on bad input."""

import gzip
from pathlib import Path

import pytest

from mbrl.store import json_bytes
from tests.mbrl.report.pages import TICKS, demo_summary, episode
from tests.scripts import run_script


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    (folder / "summary.json").write_bytes(json_bytes(demo_summary()))
    (folder / "replays.json.gz").write_bytes(gzip.compress(json_bytes({"episodes": [episode()]})))
    return folder


def test_it_writes_the_report_and_shows_tables_and_episodes(results):
    written = run_script("report", results)
    assert written.stdout.strip() == str(results / "report.html") and "<canvas" in (results / "report.html").read_text()
    shown = run_script("report", results, "--text").stdout
    assert "Gate holds" in shown and "episode 0: informed, local+exact withheld, seed 3, level 1, actual" in shown
    told = run_script("report", results, "--episode", "0").stdout
    assert told.count("tick ") == TICKS and told.count("guard act") == 1 and "power off" in told
    picture = results / "episode.gif"
    assert run_script("report", results, "--episode", "0", "--gif", picture).returncode == 0
    assert picture.read_bytes()[:4] == b"GIF8"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere"], "summary.json"),
        ([], "RESULTS: expected at least one folder, got none"),
        (["RESULTS", "--episode", "7"], "expected 0 to 0, got 7"),
        (["RESULTS", "--episode", "0", "--twin", "nobody"], "expected one of actual, no_human, got 'nobody'"),
        (["RESULTS", "--gif", "x.gif"], "expected the number of an episode"),
        (["RESULTS", "RESULTS", "--out", "x.html"], "expected one folder"),
    ],
)
def test_bad_input_gets_one_line(results, words, said):
    done = run_script("report", *(results if word == "RESULTS" else word for word in words))
    assert done.returncode != 0 and done.stdout == "" and said in done.stderr
    assert done.stderr.strip().count("\n") == 0
