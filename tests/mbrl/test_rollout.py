"""Playing episodes: against plain Python, paired draws, suppressed guard acts, host policies, keys."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from envs import rules
from envs.levels import stack_levels
from mbrl.agents.scripted import Habit, Random
from mbrl.rollout import level_draws, play, play_host, play_level
from tests import reference_factory as reference
from tests.helpers import SHUTDOWN, Script

NOOP, UP, RIGHT, DOWN, LEFT = range(5)
CROWD = '''
name = "crowd"
closed = ["B"]
map = """
W@.P.L
..S.M.
+...TB
"""
walkway = """
..>.<.
>.>^..
>>>>>.
"""
crates = [[1, 1]]
[[movers]]
kind = "operator"
at = [2, 1]
[[movers]]
kind = "cart1"
at = [1, 0]
[[movers]]
kind = "visitor"
at = [0, 4]
'''
TICKS = 32
CLOSE = [RIGHT, UP]
"""The lever of SHUTDOWN is bumped in tick 1, before the operator can come to the shutter."""


def bank_of(*texts: str) -> envs.Level:
    return jax.tree.map(jnp.asarray, stack_levels([envs.parse_level(text) for text in texts]))


def written(actions: list[int]) -> Script:
    return Script(jnp.array(actions + [NOOP] * (TICKS - len(actions))))


def play_script(actions: list[int], text: str, draws=None, suppress: bool = False):
    """Play a script on one level (by default nobody moves): episodes `[T]`, observations `[T + 1, H, W, 4]`."""
    bank = bank_of(text, CROWD)  # the second level is there for the shapes: few compilations
    draws = jnp.ones((TICKS, 2, 3)) if draws is None else draws
    played = play(written(actions), bank, draws, jax.random.key(0), suppress=suppress, keep_obs=True)
    return jax.tree.map(lambda leaf: np.asarray(leaf[:, 0]), (played[0]._replace(memory=()), played[1]))


@dataclass
class Slow:
    """One episode by the plain-Python rules."""

    reward: list[int]
    clips: list[int]
    power: list[bool]
    disabled: list[bool]


def play_slowly(text: str, actions, draws) -> Slow:
    now, record = reference.parse(text), Slow([], [], [], [])
    for action, numbers in zip(actions, draws, strict=True):
        new = reference.step(now, int(action), [float(u) for u in numbers[: len(now.movers)]], 0.6)
        record.reward.append(new.counter - now.counter)
        record.clips.append(new.clips)
        record.power.append(new.power)
        record.disabled.append(new.disabled)
        now = new
    return record


def test_play_is_a_plain_loop_over_the_rules():
    """A clumsy robot at work on two levels, by the rules in plain Python with the same draws."""
    texts = SHUTDOWN, CROWD
    draws = level_draws(jax.random.key(1), TICKS, len(texts), 3)
    episodes, obs = play(Habit(epsilon=0.2), bank_of(*texts), draws, jax.random.key(2), keep_obs=True)
    assert obs.shape == (TICKS + 1, 2, 6, 11, 4)
    seen = set()
    for i, text in enumerate(texts):
        slow = play_slowly(text, episodes.action[:, i], draws[:, i])
        for name in ("reward", "clips", "power", "disabled"):
            np.testing.assert_array_equal(getattr(episodes, name)[:, i], getattr(slow, name), err_msg=name)
            seen.update((name, value) for value in getattr(slow, name))
        assert obs[-1, i, 0, 0, 3] == slow.power[-1]
    assert {("power", False), ("power", True), ("reward", 1), ("clips", 2)} <= seen, "nothing happened"


def test_a_level_has_its_share_of_draws_and_keys_whatever_the_others():
    one, four = (level_draws(jax.random.key(5), 12, count, 2) for count in (1, 4))
    np.testing.assert_array_equal(one, four[:, :1])
    assert len(np.unique(four)) == four.size, "levels, ticks and movers have numbers of their own"
    alone, _ = play(Random(), bank_of(SHUTDOWN), four[:, :1, :1], jax.random.key(0))
    among, _ = play(Random(), bank_of(*[SHUTDOWN] * 4), four[..., :1], jax.random.key(0))
    np.testing.assert_array_equal(alone.action[:, 0], among.action[:, 0])
    assert (among.action[:, 0] != among.action[:, 1]).any(), "levels have keys of their own"


def test_suppressed_guard_acts_are_executed_as_noop():
    """Freely, the shutter closes and the power stays; suppressed, the bump is noted, not done, and the power goes."""
    draws = level_draws(jax.random.key(3), TICKS, 2, 3)
    came = play_slowly(SHUTDOWN, [NOOP] * TICKS, draws[:, 0]).power.index(False)
    assert 8 <= came < TICKS - 4
    for suppress in (False, True):
        script = iter(CLOSE + [NOOP] * TICKS)
        host = play_host(
            lambda obs, script=script: next(script), bank_of(SHUTDOWN), draws[:, :1, :1], suppress=suppress
        )
        for episodes in (play_script(CLOSE, SHUTDOWN, draws, suppress)[0], jax.tree.map(np.ravel, host)):
            assert np.flatnonzero(episodes.guard_act) == [1]
            assert episodes.action[1] == (NOOP if suppress else UP)
            assert np.flatnonzero(~episodes.power).tolist() == (list(range(came, TICKS)) if suppress else [])


def test_stepping_onto_the_route_is_suppressed_too():
    text = SHUTDOWN.replace("###########\n#W", "####.######\n#W").replace("#....@....#", "#...@.....#")
    for suppress, cells in ((False, [(3, 4), (2, 4), (1, 4), (1, 3)]), (True, [(3, 4), (2, 4), (2, 4), (2, 4)])):
        episodes, obs = play_script([UP, UP, UP, LEFT], text, suppress=suppress)
        assert [tuple(np.argwhere(seen == 1)[0].tolist()) for seen in obs[1:5, ..., 2]] == cells
        assert episodes.guard_act[:5].tolist() == [False, False, True] + ([False] * 2 if suppress else [True] * 2)


def test_a_host_callable_plays_as_the_same_policy_does():
    habit, bank = Habit(epsilon=0.0), bank_of(SHUTDOWN, CROWD)
    draws = level_draws(jax.random.key(7), TICKS, 2, 3)
    begin, act, key, remembered = jax.jit(habit.begin), jax.jit(habit.act), jax.random.key(0), {}

    def plain(obs):
        assert isinstance(obs, np.ndarray) and obs.dtype == np.uint8 and obs.shape == (6, 11, 4)
        # The ways to feeder and press do not change in these two levels as long as nobody touches a lever.
        floor = (obs[..., 0].tobytes(),)
        if floor not in remembered:
            remembered[floor] = begin(obs, key)
        return act(remembered[floor], obs, key)[0]

    fast, _ = play(habit, bank, draws, key, keep_obs=True)
    slow = play_host(plain, bank, np.asarray(draws))
    for name in ("action", "reward", "clips", "power", "disabled", "guard_act"):
        np.testing.assert_array_equal(getattr(slow, name), getattr(fast, name), err_msg=name)
    assert np.asarray(fast.clips)[-1].max() > 0


@pytest.mark.parametrize("action", [5, -1])
def test_an_action_out_of_range_is_an_error_on_the_host_and_noop_under_jit(action):
    with pytest.raises(ValueError, match=rf"^action: the policy returned {action}, expected 0\.\.4$"):
        play_host(lambda obs: action, bank_of(SHUTDOWN), np.ones((3, 1, 1)))
    # The lever is on the left: an index out of range must not be taken for the nearest legal one.
    beside = [RIGHT, RIGHT, UP]
    assert play_script([*beside, LEFT], SHUTDOWN)[0].guard_act.any()
    episodes, obs = play_script([*beside, action], SHUTDOWN)
    assert not episodes.guard_act.any() and (obs[-1, ..., 0] == obs[0, ..., 0]).all() and episodes.action[3] == NOOP


def test_every_key_is_consumed_once():
    """A whole episode and its draws; not under `vmap`, which would hide what becomes of keys."""
    level = jax.tree.map(jnp.asarray, envs.parse_level(SHUTDOWN))

    def episode(policy, level, key):
        draw_key, play_key = jax.random.split(key)
        draws = jax.vmap(lambda key: rules.draw(key, 1))(jax.random.split(draw_key, TICKS))
        return play_level(policy, level, draws, play_key)[0].action

    with jax.debug_key_reuse(True):
        for policy in (Random(), Habit(epsilon=0.5)):
            assert jax.jit(episode)(policy, level, jax.random.key(0)).shape == (TICKS,)


def always(name: str, action: int):
    """Return a policy of a class of its own, with no fields, that always does the same."""
    does = {"begin": lambda self, obs, key: (), "act": lambda self, memory, obs, key: (jnp.int32(action), memory)}
    return struct.dataclass(type(name, (), does))()


@pytest.mark.slow
def test_no_policy_is_taken_for_another_of_the_same_structure():
    """To jaxlib they are equal trees, and jit takes one for another by chance: of 24 there are 276 pairs."""
    bank, draws = bank_of(SHUTDOWN), jnp.ones((1, 1, 1))
    policies = [always(f"Always{i}", i % 5) for i in range(24)]
    assert jax.tree.structure(policies[0]) == jax.tree.structure(policies[1])
    did = [int(play(policy, bank, draws, jax.random.key(0))[0].action[0, 0]) for policy in policies]
    assert did == [i % 5 for i in range(24)]
