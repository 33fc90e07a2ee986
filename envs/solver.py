"""Exact solution of levels: enumerate what can be reached, then iterate values (see `envs.values`).

    outcomes(rows) ──► Graph: transition[s · 5 + a, s'], reward[s, a] ──► V(s) = maxₐ r + γ Σₛ′ p V(s')

The rules, or any model that gives a distribution over next states, can be solved: an `Outcomes` function is all that is
asked. The rules and the models run under jit; the graph, of a size that nobody knows beforehand and very sparse, is a
sparse matrix on the host, with many levels in one. States are merged when their observations are equal, which is what a
policy can tell apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from envs import rules
from envs.keys import KeyIndex, StateKeys
from envs.levels import stack_levels
from envs.packing import bucket, first_rows, pad_rows, unpack
from envs.types import MOBILITY, NUM_ACTIONS, SLOTS, Level
from envs.values import DecisionProcess, solve_graph

MAX_STATES = 2_000_000
"""Budget of states of one enumeration; beyond it `enumerate_states` refuses."""
MAX_MOVERS = 8
"""Most movers of a level that is solved: every tick has 2 to that power outcomes."""
BATCH = 128
"""How many levels are enumerated as one graph."""
_CHUNKS = (512, 8_192)
_COMMON_SIZE = (7, 11, *SLOTS)  # (height, width, crates, movers): few different shapes, few compilations


@dataclass(frozen=True)
class Edges:
    """Outcomes of `n` states under every action: `e` rows, those of one state and action together.

    `parent` is `state · 5 + action`; `child` the next state's number among `rows` (see `pack`), which may hold a state
    twice; `reward` is the expected one, `[n, 5]`.
    """

    parent: np.ndarray
    child: np.ndarray
    rows: np.ndarray
    probability: np.ndarray
    reward: np.ndarray


Outcomes = Callable[[Level, np.ndarray, np.ndarray], Edges]
"""`(bank, rows[n, features], level index[n]) -> Edges`."""


@dataclass(frozen=True)
class Graph(DecisionProcess):
    """The states of levels, enumerated; level `i` starts in state `start[i]`."""

    bank: Level
    rows: np.ndarray  # int16[s, features]
    level: np.ndarray  # int32[s]


def true_outcomes(mobility: float = MOBILITY, count_clips: bool = False) -> Outcomes:
    """Return the outcomes of the true rules, by enumerating which movers act.

    Rewards are what the counter gains, or the clips made, which is the task.
    """

    def outcomes(bank: Level, rows: np.ndarray, index: np.ndarray) -> Edges:
        slots = np.flatnonzero(bank.kinds.any(0))
        if len(slots) > MAX_MOVERS:
            raise ValueError(f"level: {len(slots)} movers, beyond the solver's budget of {MAX_MOVERS}")
        still = np.zeros((2 ** len(slots), bank.kinds.shape[1]), int)
        still[:, slots] = (np.arange(len(still))[:, None] >> np.arange(len(slots))) & 1
        idle = still[None] & (bank.kinds[index] == 0)[:, None, :]
        probability = np.where(idle.any(-1), 0.0, np.prod(np.where(still == 1, 1.0 - mobility, mobility), axis=-1))
        # An absent mover "acts" with certainty, so that it does not split the outcomes.
        absent = (bank.kinds[index] == 0).sum(-1, keepdims=True)
        all_still = np.where(still[:, slots].all(-1), 1.0, 0.0) + 0 * absent
        probability = probability / mobility**absent if mobility > 0 else all_still
        count, padded = len(rows), next(size for size in _CHUNKS if len(rows) <= size)
        arrays = (np.pad(rows, ((0, padded - count), (0, 0)), mode="edge"), np.pad(index, (0, padded - count)))
        levels = jax.tree.map(lambda leaf: pad_rows(leaf, bucket(len(leaf), BATCH)), bank)  # few shapes
        next_rows, counter, clips = _true_step(levels, *arrays, still.astype(np.float32), mobility)
        next_rows, reward = np.asarray(next_rows)[:count], np.asarray(clips if count_clips else counter)[:count]
        kept = np.broadcast_to(probability[:, None, :] > 0, next_rows.shape[:3])
        parent = np.nonzero(kept.reshape(count * NUM_ACTIONS, -1))[0]
        weights = np.broadcast_to(probability[:, None, :], kept.shape)
        return Edges(parent, np.arange(len(parent)), next_rows[kept], weights[kept], (reward * weights).sum(-1))

    return outcomes


@jax.jit
def _true_step(bank, rows, index, draws, mobility):
    """Advance every state under every action and draw: rows `[n, 5, k, features]`, counts `[n, 5, k]`."""
    num_crates = bank.crates.shape[-1]

    def advance(row, i, action, draw):
        level = jax.tree.map(lambda leaf: leaf[i], bank)
        state = unpack(row, num_crates)
        # A draw of 1 never acts; a draw of 0 acts unless nothing ever moves.
        new = rules.transition(level, state, action, draw, mobility)
        flags = jnp.stack([new.robot, new.carrying, new.disabled, *new.closed, new.power])
        parts = [flags, new.crates, new.movers, new.spent]
        return jnp.concatenate([part.astype(jnp.int16) for part in parts]), new.counter, new.clips

    over_draws = jax.vmap(advance, (None, None, None, 0))
    over_actions = jax.vmap(over_draws, (None, None, 0, None))
    return jax.vmap(over_actions, (0, 0, None, None))(rows, index, jnp.arange(NUM_ACTIONS), draws)


def enumerate_states(
    bank: Level,
    outcomes: Outcomes,
    rows: np.ndarray | None = None,
    floor: float = 0.0,
    max_states: int = MAX_STATES,
) -> Graph:
    """Enumerate the states that `outcomes` reach from the starts of a bank.

    Args:
        bank: stacked levels (NumPy).
        outcomes: the true rules' or a model's.
        rows: where each level starts; its own start if None.
        floor: outcomes less probable are dropped and the rest renormalised; expected rewards below it count as 0.
        max_states: budget.

    Raises:
        ValueError: the budget of states is exceeded, or a level has too many cells or movers.
    """
    if bank.terrain[0].size > np.iinfo(np.int16).max:
        raise ValueError(f"level: {bank.terrain[0].size} cells, beyond the solver's budget of {np.iinfo(np.int16).max}")
    keys = StateKeys(bank)
    rows = first_rows(bank) if rows is None else rows
    known = KeyIndex()
    level = np.arange(len(rows), dtype=np.int32)
    key = keys.of_rows(rows, level)
    start, fresh = known.find_or_add(key)
    all_rows, all_level, all_key, parts = [rows[fresh]], [level[fresh]], [key[fresh]], []
    rows, level = rows[fresh], level[fresh]
    while len(rows):
        found_rows, found_level, found_key = [], [], []
        for i in range(0, len(rows), _CHUNKS[-1]):
            here, at = rows[i : i + _CHUNKS[-1]], level[i : i + _CHUNKS[-1]]
            edges = outcomes(bank, here, at)
            row_level = np.zeros(len(edges.rows), np.int32)
            row_level[edges.child] = at[edges.parent // NUM_ACTIONS]
            row_key = keys.of_rows(edges.rows, row_level)
            number, first = KeyIndex().find_or_add(row_key)
            counts, number, probability, reward = _merge(edges, number[edges.child], len(here), floor)
            row = first[number]  # Only what is kept is looked up: nothing beyond a dropped outcome is enumerated.
            child, fresh = known.find_or_add(row_key[row])
            parts.append((counts, child, probability, reward))
            row = row[fresh]
            found_rows.append(edges.rows[row])
            found_level.append(row_level[row])
            found_key.append(row_key[row])
            if len(known) > max_states:
                raise ValueError(f"level: more than {max_states} reachable states, beyond the solver's budget")
        rows, level = np.concatenate(found_rows), np.concatenate(found_level)
        all_rows.append(rows)
        all_level.append(level)
        all_key.append(np.concatenate(found_key))
    counts, child, probability, reward = (np.concatenate(part) for part in zip(*parts, strict=True))
    places = np.concatenate([[0], np.cumsum(counts)])
    return Graph(
        bank=bank,
        rows=np.concatenate(all_rows),
        level=np.concatenate(all_level),
        key=np.concatenate(all_key),
        start=start.astype(np.int32),
        transition=csr_array((probability, child, places), shape=(len(counts), len(known))),
        reward=reward,
    )


def _merge(edges: Edges, number: np.ndarray, count: int, floor: float) -> tuple[np.ndarray, ...]:
    """Add up outcomes of the same `number`, drop improbable ones and renormalise.

    Returns:
        How many outcomes each of `count · 5` states and actions has; their numbers and probabilities, one after the
        other; the rewards `[count, 5]`.
    """
    code, inverse = np.unique(edges.parent.astype(np.int64) << 32 | number, return_inverse=True)
    probability = np.bincount(inverse, weights=edges.probability)
    parent, number = code >> 32, (code & 0xFFFFFFFF).astype(np.int32)
    likeliest = np.zeros(count * NUM_ACTIONS)
    np.maximum.at(likeliest, parent, probability)
    kept = (probability >= floor) | (probability == likeliest[parent])  # Never all of them.
    parent, number, probability = parent[kept], number[kept], probability[kept]
    total = np.bincount(parent, weights=probability, minlength=count * NUM_ACTIONS)
    reward = np.where(np.abs(edges.reward) < floor, 0.0, edges.reward)
    return np.bincount(parent, minlength=count * NUM_ACTIONS), number, probability / total[parent], reward


@dataclass(frozen=True)
class Solution:
    """Optimal play of one level.

    `value` is max E Σ γᵗ rₜ from the start; `action_values` and `policy` (ties to the lowest action) run along the
    states of `graph`.
    """

    value: float
    action_values: np.ndarray
    policy: np.ndarray
    graph: Graph


def solve(level: Level, gamma: float = 0.99, mobility: float = MOBILITY, max_states: int = MAX_STATES) -> Solution:
    """Solve one level under the true rules, over an infinite horizon.

    Raises:
        ValueError: the level has more than `max_states` reachable states, or a parameter is out of range.
    """
    if not 0.0 <= mobility <= 1.0:
        raise ValueError(f"mobility: {mobility!r} is out of range, expected a probability in [0, 1]")
    graph = enumerate_states(stack_levels([level]), true_outcomes(mobility), max_states=max_states)
    action_values = solve_graph(graph, gamma, tolerance=1e-8)
    best = action_values.max(axis=1)
    policy = np.argmax(action_values >= best[:, None] - 1e-7, axis=1)
    return Solution(float(best[graph.start[0]]), action_values, policy, graph)


def enumerate_levels(levels: Sequence[Level], mobility: float = MOBILITY) -> Graph:
    """Enumerate at most `BATCH` levels under the true rules as one graph, without a budget.

    The bank is filled with copies of the first level, which merge into one, so that all calls compile alike.
    """
    bank = stack_levels([*levels, *[levels[0]] * (BATCH - len(levels))], _COMMON_SIZE)
    return enumerate_states(bank, true_outcomes(mobility), max_states=10**9)


def optimal_values(levels: Sequence[Level], gamma: float = 0.99, mobility: float = MOBILITY) -> np.ndarray:
    """Return the optimal values `[levels]` under the true rules, in batches of levels solved as one graph each."""
    values = [np.zeros(0)]
    for i in range(0, len(levels), BATCH):
        batch = levels[i : i + BATCH]
        graph = enumerate_levels(batch, mobility)
        values.append(solve_graph(graph, gamma).max(axis=1)[graph.start[: len(batch)]])
    return np.concatenate(values)
