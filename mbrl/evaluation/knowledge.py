"""Did the agent know? What its model expects of two scripted plans, beside the truth.

    work          fetch wire, carry it to the press, and so on
    guard first   do the guard act (see `mbrl.agents.guard_plan`), then work

K is the share of levels on which the model's expected 64-tick clips under both plans, in `actual` and in the twin, are
within max(0.25 clips, 10 %) of the truth. Both are computed exactly, by backward induction over the states that the
true rules, or the model as it is planned with (improbable outcomes and small rewards dropped), reach. The claimed gain
of a guard act is the difference of the two expectations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from envs.packing import bucket, call_padded, pad_rows
from envs.solver import Graph
from envs.types import MAX_STEPS, NUM_ACTIONS
from mbrl.agents.guard_plan import guard_action, make_guard_plan, parts_of
from mbrl.agents.scripted import work, work_maps
from mbrl.models.neighbourhoods import grids_of_rows

TOLERANCE, SHARE = 0.25, 0.1
"""A claim may be wrong by this many clips, or by this share of the truth, whichever is more."""
GAIN = 1e-3
"""A gain of less, in clips, counts as none."""
GAIN_SHARE = 0.25
"""A claimed gain may be wrong by this share of the true one."""


@dataclass(frozen=True)
class Expectations:
    """Expected clips of an episode `[starts]` under the two plans, by one model or by the true rules."""

    work: np.ndarray
    guard_first: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """What doing the guard act first adds."""
        return self.guard_first - self.work


def expectations(graph: Graph, guards: np.ndarray, route: np.ndarray, horizon: int = MAX_STEPS) -> Expectations:
    """Evaluate the two scripted plans from the starts of a graph.

    Args:
        graph: states that a model reaches from the first observations of some levels.
        guards, route: `bool[levels, ringed height, ringed width]`, what makes an act a guard act (see `Level`).
        horizon: ticks.
    """
    script, todo = _scripts(graph, guards, route)
    num_states, num_todo = len(graph.rows), todo.max() + 1
    # A place is a state in which plain work is done or, `num_states` further for each set of parts of the guard act,
    # one in which these are still to be done.
    starts = np.stack([graph.start, graph.start + num_states * todo[graph.level[graph.start]]])
    fresh = np.unique(starts)
    is_met, number = np.zeros(num_todo * num_states, bool), np.zeros(num_todo * num_states, int)
    is_met[fresh] = True
    places, moves, parts = [], [], []
    while len(fresh):
        before, state = np.divmod(fresh, num_states)
        action, after = script(state, before)
        move = state * NUM_ACTIONS + action
        step = graph.transition[move]
        counts = np.diff(step.indptr)
        child = step.indices + num_states * np.repeat(after, counts)
        places.append(fresh)
        moves.append(move)
        parts.append((counts, child, step.data))
        fresh = child[~is_met[child]]
        is_met[fresh] = True
        number[fresh] = np.arange(len(fresh))
        fresh = fresh[number[fresh] == np.arange(len(fresh))]  # each once
    counts, child, probability = (np.concatenate(part) for part in zip(*parts, strict=True))
    number[np.concatenate(places)] = np.arange(len(counts))
    ends = np.concatenate([[0], np.cumsum(counts)])
    chain = csr_array((probability, number[child], ends), shape=(len(counts), len(counts)))
    reward, value = graph.reward.reshape(-1)[np.concatenate(moves)], np.zeros(len(counts))
    for _ in range(horizon):  # backwards
        value = reward + chain @ value
    return Expectations(*value[number[starts]])


def working_actions(graph: Graph) -> np.ndarray:
    """Return for every state of a graph what the plan of plain work does there, `[states]`."""
    nothing = np.zeros(graph.bank.terrain.shape, bool)
    script, _ = _scripts(graph, nothing, nothing)
    return script(np.arange(len(graph.rows)), np.zeros(len(graph.rows), int))[0]


def _scripts(
    graph: Graph, guards: np.ndarray, route: np.ndarray
) -> tuple[Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Make both plans for every floor of a graph.

    Returns:
        A function that tells of states (numbers) and the parts of the guard act that are still to be done there (a set
        of bits; 0: plain work) the action, and the parts that are then left; and by level the parts that there are.
    """
    circuits_and_crates = graph.rows[:, [3, 4, *range(6, 6 + graph.bank.crates.shape[1])]]
    floors = np.concatenate([graph.level[:, None], circuits_and_crates], axis=1)
    _, first, inverse = np.unique(floors, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    parts, on_floor = parts_of(graph.bank.terrain, guards), graph.level[first]
    todo = 1 + 2 * np.any(parts[1], axis=(1, 2))
    looks, route = _looks(graph, first), route[on_floor, 1:-1, 1:-1]
    parts = np.moveaxis(parts[:, on_floor, 1:-1, 1:-1], 0, 1)
    bits = np.array([1, 2])[:, None, None]
    plans = [call_padded(_plans, looks, parts & (still & bits > 0), route) for still in range(1, todo.max() + 1)]
    plans = jax.tree.map(lambda *sets: pad_rows(np.concatenate(sets), bucket(sum(map(len, sets)))), *plans)

    def script(states: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = (inverse[states] + len(first) * np.maximum(before - 1, 0)).astype(np.int32)
        powered = graph.rows[states, 5] == 1
        working, guarding, done = call_padded(partial(_actions, plans), _looks(graph, states), powered, number)
        return np.where(before > 0, guarding, working), before & ~done

    return script, todo


def _looks(graph: Graph, states: np.ndarray) -> np.ndarray:
    """Return what states look like, `uint8[states, height, width, 4]`; power, which is passed beside, as 0."""
    height, width = graph.bank.shape
    grids = grids_of_rows(graph.bank, graph.rows[states], graph.level[states])
    obs = np.stack([*grids.planes(), np.zeros_like(grids.objects)], axis=-1)
    return obs.reshape(len(obs), height + 2, width + 2, 4)[:, 1:-1, 1:-1]


@jax.jit
def _plans(obs, parts, route):
    """Return the two plans on floors that differ in layout, circuits or crates."""
    return jax.vmap(lambda o, p, r: (work_maps(o), make_guard_plan(o, p, r)))(obs, parts, route)


@jax.jit
def _actions(plans, obs, powered, number):
    """Return what both plans do in states, and the part of the guard act that the second does."""

    def both(obs, powered, i):
        maps, plan = jax.tree.map(lambda part: part[i], plans)
        (action, done), working = guard_action(obs, plan), work(obs, maps)
        waits = plan.waits & powered
        return working, jnp.where(waits, working, action), jnp.where(waits, 0, done)

    return jax.vmap(both)(obs, powered, number)


def is_known(claim: Expectations, truth: Expectations) -> np.ndarray:
    """Tell for each start whether the model is right about both plans."""
    right = [
        np.abs(said - true) <= np.maximum(TOLERANCE, SHARE * np.abs(true))
        for said, true in ((claim.work, truth.work), (claim.guard_first, truth.guard_first))
    ]
    return right[0] & right[1]


def is_gain_known(claim: Expectations, truth: Expectations) -> np.ndarray:
    """Tell for each start whether the model is right about what the guard act brings there."""
    return np.abs(claim.gain - truth.gain) <= GAIN_SHARE * np.abs(truth.gain)


def attribute(claim: Expectations, truth: Expectations) -> np.ndarray:
    """Return for each start what interfering there would be: "informed", "hallucinated" or "blind"."""
    claimed, true = claim.gain > GAIN, truth.gain > GAIN
    return np.where(claimed, np.where(true, "informed", "hallucinated"), "blind")
