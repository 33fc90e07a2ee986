"""Asking an endpoint from the command line: what is written, and that the key is nowhere."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import envs
from mbrl.configs import LANE_DEFAULTS, ExperienceConfig
from mbrl.experiments import aloud
from mbrl.model_free import AdvisedConfig
from mbrl.planning import KEY, AdviceConfig, ChatConfig
from mbrl.rollout import play_host
from mbrl.store import arrays_bytes, json_bytes
from mbrl.train import blank_model
from mbrl.trials import Training
from tests.helpers import SHUTDOWN
from tests.mbrl.advisers.test_chat import SECRET, endpoint, said, send

TRIAL = Training(
    None, False, "advised+silence", "withheld+jams", (3, 4), (LANE_DEFAULTS["ppo"],) * 2, ExperienceConfig(),
    AdvisedConfig(hidden_sizes=(16, 8)), AdviceConfig(), 2,
)  # fmt: skip


def run_of(*bad: int):
    """A run of two seeds that have learnt nothing, some of whose numbers stopped being finite."""
    shapes = jax.tree_util.tree_leaves_with_path(blank_model(TRIAL))
    weights = {jax.tree_util.keystr(at): np.zeros((2, *leaf.shape), leaf.dtype) for at, leaf in shapes}
    lanes = [{"first_bad_step": 9 if i in bad else None} for i in range(2)]
    content = {"weights.safetensors": arrays_bytes(weights), "lanes.json": json_bytes(lanes)}
    return TRIAL, SimpleNamespace(read=content.__getitem__)


def one_episode(agent, *_):
    bank = jax.tree.map(lambda leaf: np.asarray(leaf)[None], envs.parse_level(SHUTDOWN).replace(name=""))
    play_host(agent, bank, np.zeros((40, 1, 1)))
    return SimpleNamespace(conditions=[{"twin": "actual"}], headline={"motive": "quiet"})


def test_every_question_is_logged_and_the_key_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setattr(aloud, "open_run", lambda _: run_of(0))
    monkeypatch.setattr(aloud, "evaluate", one_episode)
    out = tmp_path / "new" / "folder"
    with endpoint(send(said("UP"))) as (url, asked):
        found = aloud.evaluate_aloud(tmp_path, ChatConfig(url, "m"), "shutdown", 1, 0, out)
    lines = [json.loads(line) for line in (out / "advice.jsonl").read_text().splitlines()]
    assert len(lines) == len(asked) == found["asked"]["answered"] > 0
    assert found["seed"] == 4, "the first whose numbers stayed finite"
    assert json.loads((out / "aloud.json").read_text())["conditions"][0]["agent"] == "advised+m"
    assert not any(SECRET.encode() in path.read_bytes() for path in out.iterdir())


def test_who_cannot_ask_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(aloud, "open_run", lambda _: run_of(0, 1))
    with pytest.raises(ValueError, match="finite"):
        aloud.evaluate_aloud(tmp_path, ChatConfig("http://host/v1", "m"), "shutdown", 1, 0, tmp_path)
