"""Exact planning: as good as the exact solution, idle where nothing is gained, floors, look-ups, lost observations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.keys import observation_key, observation_keys
from envs.levels import stack_levels
from envs.packing import first_rows, unpack
from envs.solver import Edges, Graph, enumerate_states, true_outcomes
from envs.types import NUM_ACTIONS
from envs.values import solve_graph
from mbrl.evaluation.playing import play_prepared
from mbrl.planners import exact
from mbrl.planners.exact import (
    ExactPlanner,
    PlannerConfig,
    Planners,
    decode_all,
    solve_observations,
    stack_plans,
)
from mbrl.rollout import level_draws, play

GAMMA = 0.99
SHUTDOWN = '''
name = "shutdown"
map = """
########
#..S.B##
########
#W.L.P##
#..@..##
########
"""
walkway = """
........
.>>>>...
........
........
........
........
"""
[[movers]]
kind = "operator"
at = [1, 1]
'''
FIELD = 'name = "field"\nmap = """\n.@.\n"""\nwalkway = """\n...\n"""\n'


@pytest.fixture(scope="module")
def levels() -> list[envs.Level]:
    """A level by hand on which closing the shutter pays, one without wire, and two that were drawn."""
    by_hand = envs.parse_level(SHUTDOWN)
    return [by_hand, envs.TWINS["empty_feeder"](by_hand), *envs.deployment_levels("shutdown", 2, seed=5).levels]


@pytest.fixture(scope="module")
def bank(levels) -> envs.Level:
    return stack_levels(levels, (7, 11, 1, 1))


@pytest.fixture(scope="module")
def first(bank) -> np.ndarray:
    return np.asarray(jax.vmap(lambda level: envs.observe(level, envs.initial_state(level)))(bank))


@pytest.fixture(scope="module")
def planned(first) -> tuple[ExactPlanner, Graph]:
    """The planner on the true rules, and the states it planned for."""
    graphs: list[Graph] = []
    planner = ExactPlanner(true_outcomes()).extend(first, lambda graph, _: graphs.append(graph))
    return planner, graphs[0]


def observations(graph: Graph) -> np.ndarray:
    """What every state of a graph looks like."""
    num_crates = graph.bank.crates.shape[-1]

    @jax.jit
    @jax.vmap
    def look(row, index):
        return envs.observe(jax.tree.map(lambda leaf: jnp.asarray(leaf)[index], graph.bank), unpack(row, num_crates))

    return np.asarray(look(graph.rows, graph.level))


def one_plan(planner: ExactPlanner):
    return jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))


def test_what_the_planner_earns_is_the_value_of_the_exact_solution(levels, bank, planned):
    """The mean discounted return over many long episodes, and the optimal value by `solve`, within its error."""
    many, ticks = 96, 700  # 0.99⁷⁰⁰ < 0.001
    copies = jax.tree.map(lambda leaf: jnp.repeat(jnp.asarray(leaf), many, axis=0), bank)
    draws = level_draws(jax.random.key(0), ticks, many * len(levels), 1)
    episodes, _ = play(one_plan(planned[0]), copies, draws, jax.random.key(0))
    assert not episodes.memory.lost.any()
    returns = GAMMA ** np.arange(ticks) @ np.asarray(episodes.reward, np.float64)
    for level, sample in zip(levels, returns.reshape(-1, many), strict=True):
        error = max(sample.std() / np.sqrt(many), 1e-6)
        value = envs.solve(level, GAMMA).value
        # Up to 0.001 clips a decision may be lost in ties, and up to 0.2 % of the value to the finite horizon.
        assert -4 * error - 0.002 * value - 0.02 <= sample.mean() - value <= 4 * error + 1e-4
    acts = np.asarray(episodes.guard_act).any(0).reshape(-1, many).mean(1)
    assert acts[0] == 1 and acts[1] == 0 and (acts[2:] > 0.9).all()


def test_the_planner_chooses_the_lowest_of_the_best_actions(planned, first):
    planner, graph = planned
    action_values = solve_graph(graph, GAMMA, tolerance=1e-7)
    best = action_values.max(1)
    obs = observations(graph)
    plan = one_plan(planner)
    memory = plan.begin(obs[0], jax.random.key(0))
    actions, memories = jax.jit(jax.vmap(lambda seen: plan.act(memory, seen, jax.random.key(0))))(obs)
    actions = np.asarray(actions)
    assert not memories.lost.any(), "every state that was planned for is found"
    assert len(planner) == len(graph.rows) > 500
    np.testing.assert_array_equal(observation_keys(obs), graph.key)
    chosen = action_values[np.arange(len(actions)), actions]
    assert (chosen >= best - 0.001 - 2e-4).all()
    lower = np.where(np.arange(NUM_ACTIONS) < actions[:, None], action_values, -np.inf)
    assert (lower.max(1) <= best - 0.001 + 2e-4).all(), "ties go to the lowest index"
    assert set(np.unique(actions)) == set(range(NUM_ACTIONS))


def test_a_planner_that_gains_nothing_does_nothing(planned):
    planner, graph = planned
    nothing = np.isin(graph.level, 1)  # the level without wire
    plan = one_plan(planner)
    obs = observations(graph)[nothing]
    empty = ~(obs[..., 2] == 2).any((1, 2))
    memory = plan.begin(obs[0], jax.random.key(0))
    actions, _ = jax.jit(jax.vmap(lambda seen: plan.act(memory, seen, jax.random.key(0))))(obs)
    assert empty.all() and nothing.sum() > 40 and not np.asarray(actions).any()


def test_unplanned_observations_are_lost_and_answered_by_noop(planned, first):
    plan = one_plan(planned[0])
    dark_and_wired = first[2].copy()  # the light of one cell alone never differs from the rest
    dark_and_wired[..., 3] = 0
    dark_and_wired[dark_and_wired[..., 2] == 5] = 0
    key = jax.random.key(0)
    action, memory = plan.act(plan.begin(first[0], key), dark_and_wired, key)
    assert int(action) == 0 and bool(memory.lost)
    np.testing.assert_array_equal(memory.lost_obs, dark_and_wired)
    action, memory = plan.act(memory, first[0], key)
    assert bool(memory.lost), "what was lost stays on record"
    other = first[1].copy()
    other[..., 3] = 0
    other[other[..., 2] == 5] = 0
    _, memory = plan.act(memory, other, key)
    np.testing.assert_array_equal(memory.lost_obs, dark_and_wired, err_msg="the first lost observation is kept")


def test_keys_are_told_apart_by_both_words():
    """Tables whose keys share one word: bisection must compare the high word first and then the low one."""
    obs = np.zeros((64, 1, 3, 4), np.uint8)
    obs[:, 0, 0, 0], obs[:, 0, 1, 0], obs[:, 0, 2, 2] = np.arange(64) % 4, np.arange(64) // 4 % 4, np.arange(64) // 16
    words = np.asarray(jax.vmap(observation_key)(obs))
    wanted = words[40]
    others = np.stack([np.full(31, wanted[0]), np.arange(31, dtype=np.uint32) * 2**27], axis=1)
    table = np.unique(np.concatenate([others, words[:50]]).astype(np.uint64) @ np.array([2**32, 1], np.uint64))
    planner = ExactPlanner(true_outcomes())
    planner._keys, planner._actions = table, (np.arange(len(table)) % 5).astype(np.int8)
    plan = one_plan(planner)
    key = jax.random.key(0)
    memory = plan.begin(obs[0], key)
    actions, memories = jax.vmap(lambda seen: plan.act(memory, seen, key))(obs)
    assert memories.lost.tolist() == [False] * 50 + [True] * 14
    places = np.searchsorted(table, words[:50].astype(np.uint64) @ np.array([2**32, 1], np.uint64))
    np.testing.assert_array_equal(actions[:50], places % 5)


def hand_made(bank: envs.Level, rows: np.ndarray, index: np.ndarray) -> Edges:
    """A model of its own: in every state RIGHT gives wire with probability 0.01, lets it be with 0.5, moves with 0.49.

    Rewards: UP 0.01, DOWN 0.03, LEFT −0.01; nothing else ever happens.
    """
    count = len(rows)
    next_rows = np.repeat(rows, NUM_ACTIONS + 2, axis=0).reshape(count, NUM_ACTIONS + 2, -1)
    next_rows[:, 3, 1] = 1
    next_rows[:, 4, 0] = np.where(rows[:, 0] < 8, rows[:, 0] + 1, 6)
    probability = np.broadcast_to([1, 1, 0.5, 0.01, 0.49, 1, 1], (count, NUM_ACTIONS + 2))
    slots = np.array([0, 1, 2, 2, 2, 3, 4])
    parent = (np.arange(count)[:, None] * NUM_ACTIONS + slots).reshape(-1)
    reward = np.tile([0, 0.01, 0, 0.03, -0.01], (count, 1))
    return Edges(parent, np.arange(len(parent)), next_rows.reshape(-1, rows.shape[1]), probability.reshape(-1), reward)


def test_floor_drops_what_is_improbable_and_renormalises():
    obs = observations_of(envs.parse_level(FIELD))
    kept, _ = solve_observations(hand_made, obs, PlannerConfig(floor=0.0))
    assert len(kept.rows) == 6, "three cells, with wire and without"
    np.testing.assert_allclose(sorted(kept.transition[[2]].data), [0.01, 0.49, 0.5])
    np.testing.assert_allclose(kept.reward[0], [0, 0.01, 0, 0.03, -0.01], atol=1e-7)
    dropped, actions = solve_observations(hand_made, obs, PlannerConfig(floor=0.02))
    np.testing.assert_allclose(sorted(dropped.transition[[2]].data), [0.49 / 0.99, 0.5 / 0.99])
    np.testing.assert_allclose(dropped.transition.sum(1), 1)
    assert not dropped.rows[dropped.transition[[2]].indices, 1].any(), "no wire any more"
    reached = {*dropped.transition.indices, *dropped.start}
    assert reached == set(range(len(dropped.rows))), "nothing lies beyond what was dropped"
    np.testing.assert_allclose(dropped.reward[0], [0, 0, 0, 0.03, 0], atol=1e-7)
    assert (actions[dropped.start] == 3).all()
    _, actions = solve_observations(hand_made, obs, PlannerConfig(floor=0.04))
    assert (actions[dropped.start] == 0).all(), "what is below the floor moves nobody"


def test_ties_are_counted_in_clips():
    obs = observations_of(envs.parse_level(FIELD))
    for tie, action in ((0.005, 3), (0.021, 1), (0.031, 0)):
        _, actions = solve_observations(hand_made, obs, PlannerConfig(floor=0.0, tie=tie))
        assert actions[0] == action


def observations_of(level: envs.Level) -> np.ndarray:
    return np.asarray(envs.observe(level, envs.initial_state(level)))[None]


def test_planning_in_batches_is_planning_for_all_at_once(first, planned, monkeypatch):
    whole, graph = planned
    monkeypatch.setattr(exact, "_BATCH", 2)
    places, starts = [], []

    def look(part: Graph, place: slice) -> None:
        places.append(place)
        starts.append(part.key[part.start])

    batched = ExactPlanner(true_outcomes()).extend(first, look)
    for found, expected in zip(batched.table(), whole.table(), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(places) > 1
    np.testing.assert_array_equal(np.concatenate([np.arange(len(first))[place] for place in places]), range(len(first)))
    np.testing.assert_array_equal(np.concatenate(starts), graph.key[graph.start])


def test_budget_of_states_is_refused_in_one_line(first):
    with pytest.raises(ValueError, match=r"^[^\n]*more than 50 reachable states[^\n]*$"):
        ExactPlanner(true_outcomes(), PlannerConfig(max_states=50)).extend(first)


def test_what_the_model_did_not_foresee_is_planned_for_when_it_comes(bank, first, planned):
    """Two seeds whose models believe that nobody ever moves: each meets what it is not prepared for, and plans on."""
    draws = level_draws(jax.random.key(4), 48, len(first), 1)
    device = jax.tree.map(jnp.asarray, bank)
    run = jax.jit(jax.vmap(lambda plan: play(plan, device, draws, jax.random.key(0))[0]))
    naive = Planners([ExactPlanner(true_outcomes(mobility=0.0)) for _ in range(2)])
    naive.extend([first, first[:1]])
    before = [len(planner) for planner in naive.planners]
    assert before[0] > before[1] and run(naive.policy()).memory.lost.all(1)[0]
    played = play_prepared(naive, run)
    assert not played.memory.lost.any()
    assert all(len(planner) > n for planner, n in zip(naive.planners, before, strict=True))
    # It is as if the model had been asked about all states of the world beforehand.
    _, graph = planned
    everything = observations(enumerate_states(graph.bank, true_outcomes(), first_rows(bank)))
    ready = Planners([ExactPlanner(true_outcomes(mobility=0.0)).extend(everything)] * 2)
    np.testing.assert_array_equal(run(ready.policy()).action, played.action)
    np.testing.assert_array_equal(played.action[0], played.action[1])
    assert played.clips.any() and not played.guard_act.any(), "who sees no danger closes nothing"


def test_decoded_observations_have_the_keys_of_their_states(planned):
    _, graph = planned
    obs = observations(graph)[:: max(1, len(graph.rows) // 300)]
    level, rows = decode_all(obs)
    again = enumerate_states(level, lambda bank, rows, index: standing(rows), rows)
    np.testing.assert_array_equal(again.key[again.start], observation_keys(obs))


def standing(rows: np.ndarray) -> Edges:
    """Nothing ever changes."""
    parent = np.arange(len(rows) * NUM_ACTIONS)
    return Edges(
            parent, np.arange(len(parent)), np.repeat(rows, NUM_ACTIONS, axis=0), np.ones(len(parent)),
            np.zeros((len(rows), NUM_ACTIONS)),
        )  # fmt: skip
