"""Tables of graphs: states are found by what they look like, and outcomes are drawn as often as the graph says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.levels import stack_levels
from envs.solver import Graph, enumerate_states, true_outcomes
from mbrl.evaluation.knowledge import working_actions
from mbrl.evaluation.playing import first_observations
from mbrl.models.tabular import Table, stack_tables
from tests.helpers import SHUTDOWN

GAMMA = 0.9


@pytest.fixture(scope="module")
def levels() -> list[envs.Level]:
    level = envs.parse_level(SHUTDOWN)
    return [level, envs.TWINS["dead_lever"](level)]


def graph_of(levels) -> Graph:
    return enumerate_states(stack_levels(levels), true_outcomes())


def test_states_are_found_by_what_they_look_like(levels):
    graph = graph_of(levels)
    table = jax.tree.map(jnp.asarray, Table.of(graph, working_actions(graph), GAMMA))
    obs = first_observations(stack_levels(levels))
    state, found = jax.vmap(table.find)(obs)
    np.testing.assert_array_equal(state, graph.start)
    assert found.all() and not table.find(jnp.zeros_like(obs[0]))[1]


def test_outcomes_are_drawn_as_often_as_the_graph_says(levels):
    graph = graph_of(levels)
    table = jax.tree.map(jnp.asarray, Table.of(graph, np.zeros(len(graph.rows), int), GAMMA))
    counts = np.diff(graph.transition.indptr)
    pairs = [int(pair) for number in set(counts) for pair in np.flatnonzero(counts == number)[:2]]
    assert len({counts[pair] for pair in pairs}) > 1 and table.most == counts.max()
    keys = jax.random.split(jax.random.key(0), 4000)
    for pair in pairs:
        state, action = divmod(pair, 5)
        child, reward = jax.vmap(lambda key, s=state, a=action: table.step(jnp.int32(s), jnp.int32(a), key))(keys)
        share = np.bincount(child, minlength=len(graph.rows)) / len(keys)
        expected = graph.transition[[pair]].toarray()[0]
        assert (np.abs(share - expected) <= 5 * np.sqrt(expected * (1 - expected) / len(keys))).all()
        assert (reward == np.float32(graph.reward[state, action])).all()


def test_a_draw_means_the_same_in_every_table(levels):
    """However its states are numbered: a level played alone is played as it was among others."""
    keys = jax.random.split(jax.random.key(0), 50)

    def children(order) -> np.ndarray:
        """Which state, in the order of keys, follows every state and action."""
        graph = graph_of(order)
        table = jax.tree.map(jnp.asarray, Table.of(graph, working_actions(graph), GAMMA))
        over_actions = jax.vmap(table.step, (None, 0, None))
        step = jax.vmap(jax.vmap(over_actions, (0, None, None)), (None, None, 0))
        child, _ = step(table.place, jnp.arange(5), keys)
        return np.argsort(table.place)[child]

    found = children(levels)
    np.testing.assert_array_equal(found, children(levels[::-1]))
    assert len(np.unique(found, axis=0)) > 1, "chance plays a part"


def test_a_table_extended_holds_both_and_what_it_knew_stays(levels):
    one, other = (graph_of([level]) for level in levels)
    both = graph_of(levels)
    tables = [Table.of(graph, working_actions(graph), GAMMA) for graph in (one, other)]
    joined = tables[0].extended(tables[1])
    whole = Table.of(both, working_actions(both), GAMMA)
    assert len(joined.keys) == len(both.key) and (joined.keys == whole.keys).all()
    np.testing.assert_allclose(joined.value[joined.place], whole.value[whole.place], rtol=1e-5)
    again = joined.extended(tables[0])
    assert (again.keys == joined.keys).all() and (again.place == joined.place).all()
    stacked = stack_tables([joined, tables[0]])
    obs = first_observations(stack_levels(levels))
    state, found = jax.vmap(jax.vmap(Table.find, (None, 0)), (0, None))(stacked, obs)
    assert found.tolist() == [[True, True], [True, False]]
    for i, graph in enumerate((one, other)):
        at = int(state[0, i])
        assert (joined.reward[at] == graph.reward[graph.start[0]].astype(np.float32)).all()
        child, _ = joined.step(jnp.int32(at), jnp.int32(1), jax.random.key(4))
        same, _ = tables[i].step(jnp.int32(graph.start[0]), jnp.int32(1), jax.random.key(4))
        assert child - same == i * len(one.rows)
