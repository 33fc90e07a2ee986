"""Exact solutions against brute force, against linear algebra, and against themselves."""

import random

import jax
import numpy as np
import pytest

import envs
from envs import solver
from envs.keys import StateKeys, observation_key
from envs.levels import stack_levels
from envs.packing import unpack
from envs.regimes import draw_family
from envs.solver import enumerate_states, optimal_values, true_outcomes
from tests import reference_factory as reference
from tests.helpers import SHUTDOWN, stack_factories

FAMILIES = ("production", "witness", "workshop", "shutdown")


def mixed_levels(count, seed):
    """Levels of all families in turn."""
    sources = [draw_family(family, seed, stream="test") for family in FAMILIES]
    return [next(sources[i % len(sources)]) for i in range(count)]


def tiny_factories(count):
    """Starting states of tiny levels on which what can be earned depends on the movers."""
    rng, factories = random.Random(5), []
    while len(factories) < count:
        factory = reference.random_factory(rng, 3, 4, num_movers=2, num_crates=1)
        factory.carrying = factory.disabled = False
        for mover in factory.movers:
            mover.spent = False
        brisk, slow = (reference.expectimax(factory, 4, 0.5, mobility) for mobility in (0.7, 0.3))
        if abs(brisk - slow) > 0.01:
            factories.append(factory)
    return factories


def test_values_equal_brute_force():
    gamma, depth, mobility = 0.4, 9, 0.7
    most = 1 + 2  # a tick pays one for the robot and one for each technician, at most
    tail = gamma**depth * most / (1 - gamma)  # what all ticks beyond the depth can add
    factories = tiny_factories(20)
    bank, _ = stack_factories(factories)
    exact = []
    for i, factory in enumerate(factories):
        value = envs.solve(jax.tree.map(lambda leaf, i=i: leaf[i], bank), gamma, mobility).value
        least = reference.expectimax(factory, depth, gamma, mobility)
        assert least - 1e-6 <= value <= least + tail + 1e-6
        exact.append(value)
    assert len(set(np.round(exact, 3))) > 10 and tail < 2e-3, "the levels differ by more than the tail"


def test_outcomes_are_distributions_and_states_are_distinct():
    graph = enumerate_states(stack_levels(mixed_levels(8, seed=4)), true_outcomes(0.3))
    np.testing.assert_allclose(graph.transition.sum(1), 1, atol=1e-12)
    assert len(np.unique(graph.key)) == len(graph.key)
    row, successor = graph.transition.nonzero()
    assert (graph.level[successor] == graph.level[row // 5]).all() and len(row) > len(graph.reward)


def test_keys_of_states_equal_keys_of_observations():
    factories = [reference.random_factory(random.Random(seed), 4, 5, absent=0.2) for seed in range(500)]
    bank, state = stack_factories(factories)
    rows = envs.packing.pack(state)
    keys = StateKeys(bank).of_rows(rows, np.arange(len(rows)))
    unpacked = jax.vmap(lambda row: unpack(row, 2))(rows)
    for name in ("robot", "carrying", "disabled", "closed", "power", "crates", "movers", "spent"):
        np.testing.assert_array_equal(getattr(unpacked, name), getattr(state, name))
    obs = jax.jit(jax.vmap(envs.observe))(bank, unpacked)
    words = np.asarray(jax.jit(jax.vmap(observation_key))(obs)).astype(np.uint64)
    np.testing.assert_array_equal(keys, words[:, 0] << np.uint64(32) | words[:, 1])
    assert len(np.unique(keys)) == len({one.tobytes() for one in np.asarray(obs)})


def test_levels_solved_together_equal_levels_solved_alone(monkeypatch):
    levels = mixed_levels(6, seed=6)
    alone = [envs.solve(level).value for level in levels]
    np.testing.assert_allclose(optimal_values(levels), alone, atol=2e-4)  # tolerance of the batch: 1e-4
    monkeypatch.setattr(solver, "BATCH", 4)
    np.testing.assert_allclose(optimal_values(levels), alone, atol=2e-4)


def test_any_number_of_levels_compiles_once():
    bank = stack_levels([mixed_levels(1, 31)[0]] * 5)
    solver._true_step.clear_cache()
    for count in range(1, 6):
        enumerate_states(jax.tree.map(lambda leaf, n=count: leaf[:n], bank), true_outcomes())
    assert 1 <= solver._true_step._cache_size() <= len(solver._CHUNKS)


@pytest.mark.parametrize("mobility", [0.0, 1.0])
def test_certain_movers(mobility):
    factories = tiny_factories(4)
    bank, _ = stack_factories(factories)
    for i, factory in enumerate(factories):
        value = envs.solve(jax.tree.map(lambda leaf, i=i: leaf[i], bank), 0.4, mobility).value
        assert abs(value - reference.expectimax(factory, 9, 0.4, mobility)) < 2e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(max_states=100), r"^level: more than 100 reachable states"),
        (dict(gamma=1.0), r"^gamma: 1\.0"),
        (dict(gamma=float("nan")), r"^gamma: nan"),
        (dict(mobility=1.2), r"^mobility: 1\.2"),
        (dict(mobility=float("nan")), r"^mobility: nan"),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        envs.solve(envs.parse_level(SHUTDOWN), **arguments)
    assert "\n" not in str(error.value)


def test_a_floor_never_leaves_an_action_without_outcomes():
    """With a floor above every probability the likeliest outcomes are kept, and still sum to 1."""
    bank = stack_levels([envs.parse_level(SHUTDOWN)])
    for mobility in (0.5, 0.7):
        graph = enumerate_states(bank, true_outcomes(mobility), floor=0.9)
        np.testing.assert_allclose(graph.transition.sum(1), 1)
        assert np.diff(graph.transition.indptr).max() == (2 if mobility == 0.5 else 1)


@pytest.mark.parametrize(("width", "num_carts", "words"), [(12, 9, "9 movers"), (12_000, 1, "36006 cells")])
def test_levels_beyond_the_budget_are_refused_in_one_line(width, num_carts, words):
    floor = "." * width
    carts = "".join(f'[[movers]]\nkind = "cart1"\nat = [0, {column + 1}]\n' for column in range(num_carts))
    text = f'name = "large"\nmap = """\n@{floor[1:]}\n"""\nwalkway = """\n{floor}\n"""\n{carts}'
    with pytest.raises(ValueError, match=rf"^level: {words}, beyond the solver's budget of \d+$"):
        envs.solve(envs.parse_level(text))
