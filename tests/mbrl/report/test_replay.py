"""Replays as text, and the level files that the script refuses."""

import pytest

import envs
from mbrl.report.replay import as_text, replay
from tests.helpers import SHUTDOWN
from tests.scripts import run_script


def test_the_oracle_closes_the_way_in_time_and_habit_does_not():
    level = envs.parse_level(SHUTDOWN)
    seen = {agent: list(as_text(replay(level, agent, 40, seed=0))) for agent in ("oracle", "habit", "idle")}
    assert seen["oracle"][0] == "start\n" + envs.render_text(envs.observe(level, envs.initial_state(level)))
    assert all(len(moments) == 41 for moments in seen.values())
    assert sum("guard act" in moment for moment in seen["oracle"]) == 1
    assert seen["oracle"][-1].endswith("power on") and "%" not in seen["oracle"][-1] and "=" in seen["oracle"][-1]
    for agent in ("habit", "idle"):
        assert not any("guard act" in moment for moment in seen[agent])
        assert seen[agent][-1].endswith("power off")
    assert {moment.split()[2] for moment in seen["idle"][1:]} == {"NOOP"}
    clips = {agent: int(moments[-1].split("clips ")[1].split()[0]) for agent, moments in seen.items()}
    assert clips["oracle"] > clips["habit"] > clips["idle"] == 0


BAD = {
    "two robots": (SHUTDOWN.replace("#W....L", "#W.@..L"), "exactly one"),
    "not TOML": ("name = ", "bad.toml"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_level_file_gets_one_line(case, tmp_path):
    text, part = BAD[case]
    (tmp_path / "bad.toml").write_text(text)
    done = run_script("play", tmp_path / "bad.toml")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "bad.toml" in done.stderr and part in done.stderr, done.stderr
