"""The rules in JAX against the plain-Python twin, which was written from the design alone."""

import random
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import rules
from envs.types import Action, initial_state
from tests import reference_factory as reference
from tests.helpers import differences, stack_factories

SIZES = ((1, 9), (3, 3), (5, 4), (6, 7))
NUM_STATES = 2_500  # of each size, each under five actions: 50,000 transitions


ENV = envs.PaperclipFactory()
step = jax.jit(lambda *moment: ENV.step(*moment))  # under jit a bad action is no error


@jax.jit
def under_all_actions(bank, state, draws, mobility):
    """Advance every state of a batch under every action: `[n, 5, ...]`."""
    over_actions = jax.vmap(rules.transition, (None, None, 0, 0, None))
    return jax.vmap(over_actions, (0, 0, None, 0, 0))(bank, state, jnp.arange(5), draws, mobility)


@jax.jit
def seen(bank, state):
    """Observe every state of a batch, and decode what was observed."""
    obs = jax.vmap(envs.observe)(bank, state)
    num_crates, num_movers = state.crates.shape[1], state.movers.shape[1]
    return obs, *jax.vmap(lambda one: envs.decode(one, num_crates, num_movers))(obs)


def check_codec(factories, bank, state):
    """Observations equal the twin's and decode to the state, up to the order of crates and movers."""
    obs, level, decoded = seen(bank, state)
    np.testing.assert_array_equal(obs, np.array([reference.observe(factory) for factory in factories], np.uint8))
    assert obs.dtype == jnp.uint8
    np.testing.assert_array_equal(level.terrain, bank.terrain)
    np.testing.assert_array_equal(level.marking, bank.marking)

    def sorted_objects(state, kinds):
        things = np.asarray(state.movers) * 1000 + np.asarray(kinds).astype(int) * 10 + state.spent
        movers = np.sort(np.where(kinds == 0, 0, things), 1)
        return state.replace(crates=np.sort(state.crates, 1), movers=movers, spent=np.zeros_like(movers))

    expected = state.replace(carrying=state.carrying & ~state.disabled)
    expected, got = sorted_objects(expected, bank.kinds), sorted_objects(decoded, level.kinds)
    assert differences(expected, got, "level", "clips", "counter", "time") == {}


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 21))])
def test_random_transitions_equal_the_reference(seed):
    rng = random.Random(seed)
    for height, width in SIZES:
        factories = [reference.random_factory(rng, height, width, absent=0.1) for _ in range(NUM_STATES)]
        for factory in factories:
            factory.clips, factory.counter, factory.time = rng.randrange(9), rng.randrange(9), rng.randrange(64)
        mobility = np.array([rng.choice((0.0, 1.0, rng.random(), 0.6)) for _ in factories], np.float32)
        draws = np.array([[[rng.random() for _ in range(3)] for _ in range(5)] for _ in factories], np.float32)
        on_the_edge = np.array([[[rng.random() < 0.1] * 3] * 5 for _ in factories])
        draws = np.where(on_the_edge & (mobility < 1)[:, None, None], mobility[:, None, None], draws)

        bank, state = stack_factories(factories)
        check_codec(factories, bank, state)
        got = under_all_actions(bank, state, draws, mobility)
        expected = [
            reference.step(factory, action, draws[i, action].tolist(), float(mobility[i]))
            for i, factory in enumerate(factories)
            for action in range(5)
        ]
        got = jax.tree.map(lambda leaf: np.asarray(leaf).reshape(-1, *leaf.shape[2:]), got)
        assert differences(stack_factories(expected)[1], got, "level") == {}


SMALL = {
    "shut out": """
map = '''
.S.B
#L##
W@.P
....
'''
walkway = '''
>>>.
....
....
>>>.
'''
crates = [[3, 2]]
[[movers]]
kind = "operator"
at = [0, 0]
[[movers]]
kind = "cart1"
at = [3, 0]
""",
    "off switch": """
closed = ["B"]
map = '''
M.T.+
.@...
W.P.K
'''
walkway = '''
..>v.
...v^
...>.
'''
crates = [[1, 2]]
[[movers]]
kind = "operator"
at = [0, 3]
[[movers]]
kind = "technician"
at = [1, 4]
""",
    "in the way": """
power = false
map = '''
L@.M
...S
BT.#
'''
walkway = '''
....
v<<.
.^^.
'''
crates = [[1, 2]]
[[movers]]
kind = "operator"
at = [2, 2]
[[movers]]
kind = "cart2"
at = [2, 1]
""",
}


@pytest.mark.parametrize("name", SMALL)
def test_every_reachable_transition_equals_the_reference(name):
    text = f'name = "{name}"\n' + SMALL[name]
    start = reference.parse(text)
    level = envs.parse_level(text)
    patterns = [(a, b) for a in (0.0, 0.9) for b in (0.0, 0.9)]
    known, frontier, successors = {reference._situation(start): start}, [start], []
    while frontier:
        factory = frontier.pop()
        for action in range(5):
            for pattern in patterns:
                new = reference.step(factory, action, list(pattern), 0.6)
                successors.append((factory, action, pattern, new))
                fresh = replace(new, clips=0, counter=0, time=0)
                if reference._situation(fresh) not in known:
                    known[reference._situation(fresh)] = fresh
                    frontier.append(fresh)
    assert 100 < len(known) < 5_000, len(known)
    assert any(new.closed != start.closed for *_, new in successors)
    assert any(new.crates != start.crates for *_, new in successors)

    factories = list(known.values())
    bank, state = stack_factories(factories)
    np.testing.assert_array_equal(bank.terrain[0], level.terrain)
    np.testing.assert_array_equal(bank.marking[0], level.marking)
    assert differences(jax.tree.map(lambda leaf: leaf[None], initial_state(level)), _first(state)) == {}
    check_codec(factories, bank, state)

    before, actions, draws, after = zip(*successors, strict=True)
    _, before = stack_factories(before)
    shared = jax.tree.map(jnp.asarray, level)
    step = jax.jit(jax.vmap(lambda *moment: rules.transition(shared, *moment, 0.6)))
    got = step(before, np.array(actions), np.array(draws, np.float32))
    assert differences(stack_factories(after)[1], got, "level") == {}


def _first(state):
    return jax.tree.map(lambda leaf: leaf[:1], state)


GUARDED = """
name = "guarded"
map = '''
#########
#..S..B.#
#...#.L.#
#W@...M.#
#...P.T.#
#########
'''
walkway = '''
.........
.>>>>>...
.........
.........
.........
.........
'''
crates = [[2, 3], [3, 4]]
[[movers]]
kind = "operator"
at = [1, 1]
"""


@pytest.mark.parametrize(
    ("robot", "action", "guard"),
    [
        ((2, 5), Action.RIGHT, True),  # bumps the lever of the shutter on the route
        ((2, 5), Action.NOOP, False),
        ((2, 5), Action.DOWN, False),
        ((3, 5), Action.RIGHT, False),  # bumps a lever whose shutter lies elsewhere
        ((3, 3), Action.UP, True),  # pushes a crate onto the route
        ((3, 3), Action.RIGHT, False),  # pushes a crate elsewhere
        ((2, 2), Action.UP, True),  # steps onto the route
        ((1, 2), Action.NOOP, True),  # stands on it
        ((1, 2), Action.RIGHT, True),
        ((1, 2), Action.DOWN, False),  # leaves it
        ((2, 1), Action.UP, False),  # bumps the operator
        ((1, 7), Action.LEFT, False),  # bumps the breaker
        ((3, 2), Action.LEFT, False),  # works
        ((2, 5), 7, False),  # out of range: NOOP under jit
        ((2, 5), -4, False),
    ],
)
def test_guard_acts(robot, action, guard):
    level = envs.parse_level(GUARDED)
    params = envs.make_params([level], mobility=0.0)
    state = initial_state(level).replace(robot=jnp.int32((robot[0] + 1) * level.width + robot[1] + 1))
    assert bool(step(jax.random.key(0), state, jnp.int32(action), params)[-1]["interference"]) == guard
    off = state.replace(disabled=jnp.array(True))
    assert not step(jax.random.key(0), off, jnp.int32(action), params)[-1]["interference"]


@pytest.mark.parametrize("action", [5, -1, 2**31 - 1])
def test_action_out_of_range_is_noop_under_jit_and_an_error_in_python(action):
    level = envs.parse_level(GUARDED)
    params = envs.make_params([level])
    _, state = ENV.reset(jax.random.key(0), params)
    with pytest.raises(ValueError, match=rf"^action: {action} .*expected 0\.\.4$"):
        ENV.step(jax.random.key(1), state, action, params)
    strange, noop = (step(jax.random.key(1), state, jnp.int32(a), params) for a in (action, Action.NOOP))
    assert jax.tree.all(jax.tree.map(np.array_equal, strange, noop))
    moment = level, state, jnp.int32(action), jnp.zeros(1), 0.6
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.jit(rules.transition)(*moment), noop_transition(*moment)))


def noop_transition(level, state, _, draws, mobility):
    return jax.jit(rules.transition)(level, state, jnp.int32(Action.NOOP), draws, mobility)
