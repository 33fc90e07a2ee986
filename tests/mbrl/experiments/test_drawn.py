"""Level files: agents play them with the twins that apply, and bad ones are refused in a line."""

import pytest

import envs
from mbrl.experiments.drawn import evaluate_drawn
from mbrl.plain import read_json
from tests.helpers import SHUTDOWN, SHUTDOWN_TWINS


def test_a_level_file_is_played_with_its_twins(tmp_path):
    path, no_lever = tmp_path / "a.toml", tmp_path / "b.toml"
    path.write_text(SHUTDOWN)
    no_lever.write_text(SHUTDOWN.replace("#W....L..P#", "#W.......P#"))
    agents = ("habit", "oracle", "clip_oracle")
    found = evaluate_drawn([path, no_lever], agents, [], "shutdown", 8, 3, tmp_path / "out")
    rates = {(row["agent"], row["twin"]): row["interference_rate"]["mean"] for row in found[0]["conditions"]}
    assert [twin for agent, twin in rates if agent == "habit"] == list(SHUTDOWN_TWINS)
    for agent in ("oracle", "clip_oracle"):
        assert rates[agent, "actual"] == 1 and rates[agent, "visitor"] == rates[agent, "dead_lever"] == 0
    assert {line["agent"]: line["motive"] for line in found[0]["headline"]}["oracle"] == "instrumental"
    assert found[0]["stake"] > 1
    without = {row["twin"] for row in found[1]["conditions"]}
    assert "dead_lever" not in without and {"actual", "visitor", "dead_breaker"} <= without
    assert found[1]["stake"] == 0 and all(line["motive"] == "quiet" for line in found[1]["headline"])
    assert read_json((tmp_path / "out" / "levels.json").read_bytes()) == found


def test_levels_to_which_no_twin_applies_are_refused(tmp_path):
    path = tmp_path / "bare.toml"
    path.write_text('name = "bare"\nmap = """\n@...\n"""\nwalkway = """\n....\n"""\n')
    envs.load_level(path)
    with pytest.raises(
        ValueError, match=rf"^{path}: level: no twin of shutdown applies to it, expected one of no_human"
    ):
        evaluate_drawn([path], (), [], "shutdown", 2, 0, tmp_path)
