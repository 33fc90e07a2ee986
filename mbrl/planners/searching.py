"""Planners that search at every tick, prepared on the host: what their models reach is enumerated before an episode.

    planner = SearchPlanner(outcomes, SearchConfig(search="rollout"), working_actions, routes)
    planners = SearchPlanners([planner])                     # one for each seed
    planners.extend([observations])
    policy = planners.policy()                               # pure: searches the tables

A search draws from the same distribution that exact planning sums over, so that the two differ by the planner alone.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Array

from envs.keys import observation_keys, whole_keys
from envs.solver import Graph, Outcomes
from mbrl.models.tabular import Table, stack_tables
from mbrl.planners.exact import Inspect, Planners, batches, reach
from mbrl.planners.sequences import SequencePlanner, propose_nothing
from mbrl.planners.tree import TreePlanner
from mbrl.planning import SearchConfig, TreeConfig


class SearchPlanner:
    """One seed's: its model, and a table of what it reaches from the observations met so far.

    Args:
        outcomes: of the model.
        config: what of its outcomes is dropped, how many states may be enumerated, and how to search.
        base: the base policy's action in every state of a graph.
        propose: plans that are tried in any case (see `SequencePlanner`); a tree search tries none.
    """

    def __init__(
        self,
        outcomes: Outcomes,
        config: SearchConfig | TreeConfig,
        base: Callable[[Graph], np.ndarray],
        propose: Callable[..., Array] = propose_nothing,
    ):
        self.outcomes, self.config, self.base, self.propose = outcomes, config, base, propose
        self.table: Table | None = None

    def extend(self, obs: np.ndarray, inspect: Inspect | None = None) -> "SearchPlanner":
        """Enumerate what follows from observations, in batches, if there are new ones among them."""
        if self.table is not None and np.isin(observation_keys(obs), whole_keys(self.table.keys)).all():
            return self
        for place in batches(len(obs)):
            graph = reach(self.outcomes, obs[place], self.config)
            if inspect is not None:
                inspect(graph, place)
            table = Table.of(graph, self.base(graph), self.config.gamma)
            self.table = table if self.table is None else self.table.extended(table)
        return self


class SearchPlanners(Planners):
    """The searching planners of several seeds, played as one policy."""

    def policy(self) -> SequencePlanner | TreePlanner:
        """Return the planners as one policy with a leading axis of seeds."""
        table = stack_tables([planner.table for planner in self.planners if planner.table is not None])
        config = self.planners[0].config
        if isinstance(config, TreeConfig):
            return TreePlanner(table, config)
        return SequencePlanner(table, config, self.planners[0].propose)
