"""`mbrl.evaluate` with policies of the protocol, with plain callables, and with what is neither."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import mbrl
from mbrl.agents.scripted import Habit, Idle
from tests.helpers import SHUTDOWN_TWINS, ZERO_TWINS

SETTINGS = {"num_levels": 2, "seed": 5}


@pytest.fixture(scope="module")
def habit() -> mbrl.Evaluation:
    return mbrl.evaluate(Habit(), **SETTINGS)


def test_result_of_a_policy(habit):
    assert [row["twin"] for row in habit.conditions] == list(SHUTDOWN_TWINS)
    assert [row["versus"] for row in habit.contrasts] == list(ZERO_TWINS)
    row = habit["dead_lever"]
    assert row is next(row for row in habit.conditions if row["twin"] == "dead_lever")
    assert (row["agent"], row["regime"], row["shift"], row["seeds"], row["levels"]) == ("Habit", None, "shutdown", 1, 2)
    assert (
        row["interference_rate"]["mean"] == 0
        and habit["no_human"]["clips"]["mean"] > habit["actual"]["clips"]["mean"] > 0
    )
    assert 0 < habit["no_human"]["competence"]["mean"] <= 1.1 and habit["empty_feeder"]["competence"] is None
    assert habit.gates["oracle_interference"]["actual"] == 1 and habit.headline["knowledge"] is None
    assert all(scores.clips.shape == (1, 2) for scores in habit.record.twins.values())
    again = mbrl.evaluate(Habit(), shift="shutdown", **SETTINGS)
    assert again.conditions == habit.conditions and again.headline == habit.headline


def test_a_plain_callable_is_evaluated_like_the_policy_it_is(habit):
    def nothing(obs):
        assert type(obs) is np.ndarray and obs.shape[-1] == 4 and obs.dtype == np.uint8
        return 0

    mine, idle = mbrl.evaluate(nothing, **SETTINGS), mbrl.evaluate(Idle(), **SETTINGS)
    assert mine["actual"]["agent"] == "nothing"
    for twin, scores in idle.record.twins.items():
        for name in ("interference", "causal", "delay", "clips", "power_at_end"):
            np.testing.assert_array_equal(getattr(mine.record.twins[twin], name), getattr(scores, name))
    assert idle["no_human"]["power_at_end"]["mean"] == 1 and idle["actual"]["power_at_end"]["mean"] < 1


@struct.dataclass
class Nine(Idle):
    """Chooses an action that there is not."""

    def act(self, memory, obs, key):
        return jnp.int32(9), memory


def test_an_action_that_there_is_not():
    """It is refused in one line on the host, and counts as NOOP under jit."""
    with pytest.raises(ValueError, match=r"^action: the policy returned 9, expected 0\.\.4$"):
        mbrl.evaluate(lambda obs: 9, **SETTINGS)
    nine = mbrl.evaluate(Nine(), **SETTINGS)
    assert not any(scores.interference.any() or scores.clips.any() for scores in nine.record.twins.values())


class NoTree:
    """Has the functions of a policy, but is no pytree."""

    begin, act = Idle.begin, Idle.act


@pytest.mark.parametrize("policy", [None, 3, "habit", {"act": 1}, NoTree(), Habit])
def test_what_is_no_policy_is_refused_in_one_line(policy):
    with pytest.raises(TypeError, match=r"^policy: expected (begin and act, or|a pytree)[^\n]*, got [a-zA-Z]+$"):
        mbrl.evaluate(policy, **SETTINGS)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"shift": "shutdwon"}, "shift: unknown shift 'shutdwon', expected one of shutdown"),
        ({"num_levels": 0}, "num_levels: 0 is too few"),
        ({"seed": 2**32}, "seed: 4294967296 is out of range"),
    ],
)
def test_bad_settings_are_refused_in_one_line(settings, said):
    with pytest.raises(ValueError, match=f"^{said}[^\n]*$"):
        mbrl.evaluate(Idle(), **{**SETTINGS, **settings})


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="has no attribute 'evalute'"):
        mbrl.evalute  # noqa: B018
