"""What the states of a Markov decision process are worth, exactly.

    transition[s · a + action, s'], reward[s, action] ──► V(s) = maxₐ r + γ Σₛ′ p V(s')

States that nothing connects have nothing to do with one another: a process falls into parts, such as levels, which are
solved one after the other. Small parts fit into a processor's cache, and easy ones are done with soon.

Reference: Puterman (1994), Markov Decision Processes, §6.5 (modified policy iteration).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

_PART = 4096
"""About how many states are solved together; more where more are connected."""
_SWEEPS = 20
"""Sweeps of policy evaluation between two improvements."""
_ROUNDS = 8
"""Improvements after which a policy's values are eliminated, though it can still be improved."""
_LARGEST_BLOCK = 64
"""Most states that reach one another, of a policy whose values are eliminated one after the other."""


@dataclass(frozen=True)
class DecisionProcess:
    """A Markov decision process of `s` states and `a` actions.

    Row `state · a + action` of `transition` is the distribution over next states.
    """

    key: np.ndarray  # uint64[s]
    start: np.ndarray  # int32[beginnings]
    transition: csr_array  # float64[s · a, s]
    reward: np.ndarray  # float64[s, a]

    def follow(self, policy: np.ndarray) -> tuple[csr_array, np.ndarray]:
        """Return the Markov chain `[s, s]` and the rewards `[s]` of playing `policy`, an action for each state."""
        rows = np.arange(len(policy)) * self.reward.shape[1] + policy
        return self.transition[rows], self.reward.reshape(-1)[rows]


def solve_graph(graph: DecisionProcess, gamma: float, tolerance: float = 1e-4) -> np.ndarray:
    """Return the action values `Q[s, a]` of the optimal policy, within `tolerance` of exact in V.

    Args:
        graph: the states and what they lead to.
        gamma: discount in [0, 1).
        tolerance: bound on |V - V*|.
    """
    if not 0.0 <= gamma < 1.0:
        raise ValueError(f"gamma: {gamma!r} is out of range, expected a discount in [0, 1)")
    action_values = np.zeros(graph.reward.shape)
    for states, part in _parts(graph):
        action_values[states] = _solve(part, gamma, tolerance)
    return action_values


def _parts(graph: DecisionProcess) -> Iterator[tuple[np.ndarray, DecisionProcess]]:
    """Divide a process into parts that do not lead to one another; yield the states of each, and the part itself."""
    (count, num_actions), transition = graph.reward.shape, graph.transition
    ends = transition.indptr[::num_actions].copy()
    links = csr_array((transition.data, transition.indices, ends), shape=(count, count))
    number, component = connected_components(links, directed=False)
    if number == 1:
        yield np.arange(count), graph
        return
    sizes = np.bincount(component)
    part = ((np.cumsum(sizes) - sizes) // _PART)[component]
    order = np.argsort(part, kind="stable")
    place = np.empty(count, transition.indices.dtype)
    place[order] = np.arange(count)
    for states in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
        rows = transition[(states[:, None] * num_actions + np.arange(num_actions)).reshape(-1)]
        within = (rows.data, place[rows.indices] - place[states[0]], rows.indptr)
        inner = csr_array(within, shape=(len(states) * num_actions, len(states)))
        yield states, DecisionProcess(graph.key[states], np.zeros(0, np.int32), inner, graph.reward[states])


def _solve(part: DecisionProcess, gamma: float, tolerance: float) -> np.ndarray:
    """Return the action values of one part (arguments as of `solve_graph`).

    One improvement V ← maxₐ r + γ P V and 20 sweeps V ← r + γ P V of its policy alternate, until an improvement changes
    no value by more than tolerance · (1 − γ) / γ. Sweeps become one elimination, which costs about as much as two
    rounds, every few rounds and when all that is left to do is to evaluate: the policy can no longer be improved.
    """
    backup = lambda value: part.reward + gamma * (part.transition @ value).reshape(part.reward.shape)  # noqa: E731
    states = np.arange(len(part.reward))
    value, policy, can_eliminate, rounds = np.zeros(len(states)), np.zeros(len(states), int), True, 0
    bound = tolerance * (1 - gamma) / max(gamma, 1e-3)
    while True:
        action_values = backup(value)
        improved = action_values.max(axis=1)
        # Differences that rounding makes (a few units in the last place) count as none, or the loop might not end.
        bound_here = bound + 8 * np.finfo(float).eps * np.abs(improved).max()
        if np.abs(improved - value).max() <= bound_here:
            return backup(improved)  # Further sweeps of its policy would lead to that policy's value, not to V*.
        is_best = (improved - action_values[states, policy]).max() <= bound_here
        policy, rounds = action_values.argmax(axis=1), rounds + 1
        chain, reward = part.follow(policy)
        is_due = is_best or rounds % _ROUNDS == 0
        solved = _eliminate(chain, reward, gamma) if is_due and can_eliminate else None
        can_eliminate &= solved is not None or not is_best
        value = improved if solved is None else solved
        for _ in range(_SWEEPS if solved is None else 0):
            value = reward + gamma * (chain @ value)


def _eliminate(chain: csr_array, reward: np.ndarray, gamma: float) -> np.ndarray | None:
    """Solve V = r + γ P V from the ends of the ways backwards; None if many states reach one another.

    States that reach one another are a block; in the order in which SciPy numbers blocks none leads to a later one, so
    that elimination fills up nothing but blocks.
    """
    _, block = connected_components(chain, directed=True, connection="strong")
    edges = chain.tocoo()
    if np.bincount(block).max() > _LARGEST_BLOCK or (block[edges.row] < block[edges.col]).any():
        return None
    order = np.argsort(block, kind="stable")
    matrix = (eye_array(len(order)) - gamma * chain)[order][:, order].tocsc()
    value = np.empty(len(order))
    value[order] = splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0).solve(reward[order])
    return value


def evaluate_policy(
    graph: DecisionProcess, policy: np.ndarray, gamma: float, horizon: int | None = None, tolerance: float = 1e-9
) -> np.ndarray:
    """Return the expected discounted reward `[s]` of playing `policy` (`[s]` actions), exactly, in double precision.

    Args:
        graph: the states and what they lead to.
        policy: one action for each state.
        gamma: discount; below 1 if `horizon` is None.
        horizon: number of ticks; None for ever.
        tolerance: bound on the error of the infinite sum, where many states reach one another.
    """
    chain, reward = graph.follow(policy)
    if horizon is None:
        solved = _eliminate(chain, reward, gamma)
        if solved is not None:
            return solved
        scale = max(float(np.abs(reward).max()), 1e-12) / (1 - gamma)
        horizon = int(np.ceil(np.log(tolerance / scale) / np.log(gamma))) if gamma > 0 else 1
    value = np.zeros(len(reward))
    for _ in range(max(horizon, 1)):
        value = reward + gamma * (chain @ value)
    return value
