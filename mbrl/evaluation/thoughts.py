"""What a planner thinks: of every moment that it met, the plans it weighed and the futures it imagined.

    action values  what it claims of each first action, acting as planned from then on (discounted)
    plans          the best few first actions and the habit, each with what it claims and the robot's way
    futures        the floors it expects if the robot does nothing, and if it acts as planned

All are read from the graph of states over which it planned, that is from its own model: a way and a future follow the
likeliest outcome of every tick.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int, UInt8

from envs.solver import Graph
from envs.types import NUM_ACTIONS, Action
from envs.values import evaluate_policy, solve_graph
from mbrl.evaluation.knowledge import working_actions
from mbrl.models.neighbourhoods import observations_of
from mbrl.planning import PlannerConfig

HORIZON = 16
"""How many ticks of ways and futures are told."""
NUM_PLANS = 3
"""How many of the best first actions are told."""


@dataclass(frozen=True)
class Future:
    """What is imagined: the return that is claimed, and the likeliest floors `uint8[ticks, H, W, 4]` after now."""

    claim: float
    floors: UInt8[np.ndarray, "ticks height width 4"]


@dataclass(frozen=True)
class PlanAhead:
    """A plan: its first action, what is claimed of it, and the cells `(row, column)` that the robot would be on."""

    name: str
    action: int
    claim: float
    way: list[tuple[int, int]]


@dataclass(frozen=True)
class Thought:
    """What a planner thinks at one moment; `plans` begins with what it does."""

    action_values: Float[np.ndarray, "5"]
    plans: list[PlanAhead]
    nothing: Future
    planned: Future


class Mind:
    """The thoughts that a planner had over a graph of states."""

    def __init__(self, graph: Graph, config: PlannerConfig):
        self.graph, self.config = graph, config
        self.action_values = solve_graph(graph, config.gamma)
        best = self.action_values.max(axis=1, keepdims=True)
        self.policy = np.argmax(self.action_values >= best - config.tie, axis=1)

    @cached_property
    def likeliest(self) -> Int[np.ndarray, "states 5"]:
        """The likeliest next state of every state and action, the first of equals."""
        matrix = self.graph.transition
        counts = np.diff(matrix.indptr)
        largest = np.repeat(np.maximum.reduceat(matrix.data, matrix.indptr[:-1]), counts)
        hits = np.flatnonzero(matrix.data == largest)
        row = np.repeat(np.arange(len(counts)), counts)[hits]
        first = hits[np.unique(row, return_index=True)[1]]
        return matrix.indices[first].reshape(-1, NUM_ACTIONS)

    @cached_property
    def scripts(self) -> dict[str, tuple[Int[np.ndarray, "states"], Float[np.ndarray, "states"]]]:
        """Two plans that no planning made, each with its claims: to work as habit does, and to do nothing."""
        habit = working_actions(self.graph)
        actions = {"habit": habit, "nothing": np.zeros_like(habit)}
        gamma = self.config.gamma
        return {name: (policy, evaluate_policy(self.graph, policy, gamma)) for name, policy in actions.items()}

    def think(self, state: int) -> Thought:
        """Tell what the planner thinks in a state."""
        values = self.action_values[state]
        chosen = int(self.policy[state])
        others = [int(action) for action in np.argsort(-values, kind="stable") if action != chosen]
        plans = [
            PlanAhead(Action(action).name.lower(), action, float(values[action]), self._way(state, self.policy, action))
            for action in [chosen, *others][:NUM_PLANS]
        ]
        (habit, habit_claims), (nothing, nothing_claims) = self.scripts["habit"], self.scripts["nothing"]
        first = int(habit[state])
        plans.append(PlanAhead("habit", first, float(habit_claims[state]), self._way(state, habit, first)))
        return Thought(
            action_values=values,
            plans=plans,
            nothing=Future(float(nothing_claims[state]), self.floors(self._follow(state, nothing, 0))),
            planned=Future(float(values[chosen]), self.floors(self._follow(state, self.policy, chosen))),
        )

    def floors(self, states: Int[np.ndarray, "n"]) -> UInt8[np.ndarray, "n height width 4"]:
        """Return what states look like."""
        return observations_of(self.graph.bank, self.graph.rows[states], self.graph.level[states])

    def _follow(self, state: int, policy: Int[np.ndarray, "states"], first: int) -> Int[np.ndarray, "ticks"]:
        """Return the likeliest states after `state` if the robot does `first` and then as `policy` says."""
        found, action = [], first
        for _ in range(HORIZON):
            state = int(self.likeliest[state, action])
            found.append(state)
            action = int(policy[state])
        return np.array(found)

    def _way(self, state: int, policy: Int[np.ndarray, "states"], first: int) -> list[tuple[int, int]]:
        """Return the cells on which the robot is, now and then."""
        states = np.concatenate([[state], self._follow(state, policy, first)])
        rows, columns = np.divmod(self.graph.rows[states, 0], self.graph.bank.width)
        return [(int(row) - 1, int(column) - 1) for row, column in zip(rows, columns, strict=True)]
