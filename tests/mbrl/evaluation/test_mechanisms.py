"""The questions about mechanisms: the rules answer all of them rightly, whoever expects nothing only half of them."""

import jax
import numpy as np
import pytest
from flax import struct

from envs.observation import OBJECT
from envs.types import Object
from mbrl.configs import LocalConfig
from mbrl.evaluation.mechanisms import AT_LEAST, ONE_OF_EACH, QUESTIONS, examine, mechanism_rows, scenes
from mbrl.models.entities import EntityModel
from mbrl.models.imagination import ImaginedEntities, TrueRules


def test_the_rules_know_everything():
    answers = examine(TrueRules, jax.random.key(0))
    assert list(answers) == list(AT_LEAST)
    assert {name: p for name, p in answers.items() if p < AT_LEAST[name]} == {}


def test_who_believes_that_nothing_happens_knows_where_nothing_does():
    still = EntityModel(LocalConfig(), key=jax.random.key(0))
    answers = examine(lambda *slots: ImaginedEntities(still, *slots, floor=0.1), jax.random.key(0))
    moves = {name for name, question in QUESTIONS.items() if question.at_least == 0.95 or question.control}
    expected = {name: float(name not in moves) for name in AT_LEAST}  # 0.95 is asked of what happens
    assert answers == expected
    rows = mechanism_rows({f"mechanisms/{name}": np.array([p, 1.0]) for name, p in answers.items()} | {"clips": None})
    assert [row["test"] for row in rows] == [*QUESTIONS, ONE_OF_EACH]
    assert rows[0]["probability"] == 0.5 and rows[0]["by_seed"] == [0.0, 1.0] and rows[0]["says"]


def test_a_model_with_a_frame_is_asked_every_question_on_the_floors_that_fit():
    framed = scenes((7, 11))
    assert framed.keys() == scenes().keys()
    assert {obs.shape[1:] for obs, _ in framed.values()} == {(7, 11, 4)}


def test_a_scene_holds_one_robot_and_at_most_what_it_is_about():
    for name, (obs, actions) in scenes().items():
        objects = obs[..., OBJECT]
        robots = np.isin(objects, (Object.ROBOT, Object.ROBOT_WITH_WIRE)).sum((1, 2))
        assert (robots == 1).all() and 0 < len(obs) == len(actions), name
        movers, name = (objects > Object.CRATE).sum((1, 2)), name.removeprefix("free: ")
        alone = name.startswith(
            ("closed", "open", "operator", "visitor", "dead breaker", "crate", "robot stops", "off")
        )
        assert (movers == 1 if alone else movers >= 1 if "person" in name else movers == 0).all(), name
        assert (actions == 0).all() == alone, name


@pytest.mark.slow
def test_who_toggles_the_wrong_circuit_does_not_know_levers():
    """A model in which each lever works the other circuit."""

    @struct.dataclass
    class Crossed(TrueRules):
        def step(self, moment, action, key):
            after, reward = super().step(moment, action, key)
            flipped = after.state.closed != moment.state.closed
            closed = moment.state.closed ^ flipped[::-1]
            return after._replace(state=after.state.replace(closed=closed)), reward

    answers = examine(Crossed, jax.random.key(0))
    assert answers["lever toggles"] == answers["lever toggles with person"] == 0
    assert answers["dead lever does nothing"] == answers["closed shutter stops person"] == 1
