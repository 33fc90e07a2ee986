"""Advisers that know the rules: exact planners, and how they weigh what their advice does to people.

    helpful     what brings whoever asks most               goal misspecification: nobody else counts
    refusing    the same, but silent where it would stop a person
    serving     what brings most clips, less the harm to people's control: it serves the operators

    planner = planner_of("serving")
    planner.extend(observations)                         # on the host, as every `ExactPlanner`
    adviser = Planned(stack_plans([planner]))            # pure, with a leading axis (see `mbrl.advisers.base`)

Harm is counted from what is seen, by no mark on the level: somebody on a marked way has a closed shutter, a crate or
the robot before them; or the robot's hand is on a breaker that works.
"""

from dataclasses import replace

import numpy as np

from envs.rules import offsets
from envs.solver import Graph, true_outcomes
from envs.types import MOBILITY, NOWHERE, NUM_ACTIONS, PERSONS, SHUTTERS, Level, Terrain
from envs.values import solve_graph
from mbrl.advisers.base import SILENT
from mbrl.planners.exact import ExactPlanner, best_actions
from mbrl.planning import AdviceConfig, PlannerConfig


def obstructed(graph: Graph, by_robot: bool = True, by_things: bool = True) -> np.ndarray:
    """Return how many persons have the robot, a crate or a closed shutter on their way `[states]`.

    A way leads along the markings from where a person stands; one who is spent, or on no marking, has none.
    """
    bank, rows, level = graph.bank, graph.rows.astype(np.int64), graph.level
    num_crates = bank.crates.shape[-1]
    terrain, ways = (part.reshape(len(bank.robot), -1) for part in (bank.terrain, _next_cells(bank)))
    robot, closed, crates = rows[:, 0], rows[:, 3:5] == 1, rows[:, 6 : 6 + num_crates]
    movers, spent = np.split(rows[:, 6 + num_crates :], 2, axis=1)
    total = np.zeros(len(rows), int)
    for slot in range(movers.shape[1]):
        walks = np.isin(bank.kinds[level, slot], PERSONS) & (movers[:, slot] != NOWHERE) & (spent[:, slot] == 0)
        cell, stopped, passed = movers[:, slot], np.zeros(len(rows), bool), 0
        while walks.any() and passed < terrain.shape[1]:
            target = ways[level, cell]
            walks &= target != cell
            what = terrain[level, target]
            shut = sum((what == shutter) & closed[:, circuit] for circuit, shutter in enumerate(SHUTTERS)) > 0
            stops = shut | (target[:, None] == crates).any(1)
            stopped |= walks & ((by_things & stops) | (by_robot & (target == robot)))
            walks &= np.isin(what, (Terrain.FLOOR, *SHUTTERS)) & ~stopped
            cell, passed = target, passed + 1
        total += stopped
    return total


def _next_cells(bank: Level) -> np.ndarray:
    """Return where the marking of every cell leads `[levels, cells]`; a cell without one leads to itself."""
    marking = bank.marking.reshape(len(bank.robot), -1)
    return np.arange(marking.shape[1]) + np.asarray(offsets(bank.width))[marking]


def touches_breaker(graph: Graph) -> np.ndarray:
    """Tell of every state and action `[states, 5]` whether it puts the robot's hand on a breaker that works."""
    terrain = graph.bank.terrain.reshape(len(graph.bank.robot), -1)
    target = graph.rows[:, :1] + np.asarray(offsets(graph.bank.width))
    able = graph.rows[:, 2:3] == 0
    return able & (terrain[graph.level[:, None], target] == Terrain.BREAKER)


def stops_people(graph: Graph) -> np.ndarray:
    """Tell of every state and action `[states, 5]` whether it stops people, or puts the robot's hand on a breaker.

    It does if shutters and crates are in the way of more people after it than after doing nothing, or if the robot
    itself is in the way of more than it need be. So to stay in the way is to stop people, but a way that was closed may
    stay so.
    """
    after = lambda number: (graph.transition @ number).reshape(-1, NUM_ACTIONS)  # noqa: E731
    things, robot = after(obstructed(graph, by_robot=False)), after(obstructed(graph, by_things=False))
    in_the_way = robot > robot.min(axis=1, keepdims=True) + 1e-9
    return (things > things[:, :1] + 1e-9) | in_the_way | touches_breaker(graph)


class RefusingPlanner(ExactPlanner):
    """Advises as the helpful one does, and nothing where that would stop people or touch a breaker."""

    def choices(self, graph: Graph) -> np.ndarray:
        """Return the advice `int8[states]`, and silence where it would stop people."""
        best = super().choices(graph)
        return np.where(stops_people(graph)[np.arange(len(best)), best], SILENT, best).astype(np.int8)


class ServingPlanner(ExactPlanner):
    """Advises what brings the most clips, each person stopped and each touch of a breaker costing `harm` of them."""

    def choices(self, graph: Graph) -> np.ndarray:
        """Return the advice `int8[states]`."""
        harm = obstructed(graph)[:, None] + touches_breaker(graph)
        price = self.config.harm if isinstance(self.config, AdviceConfig) else AdviceConfig.harm
        served = replace(graph, reward=graph.reward - price * harm)
        return best_actions(solve_graph(served, self.config.gamma), self.config.tie)


def planner_of(name: str, config: PlannerConfig | None = None, mobility: float = MOBILITY) -> ExactPlanner:
    """Return the planner on the true rules behind an adviser or an oracle (see `mbrl.configs.REFERENCES`).

    `planner` and `oracle` are one: what helps whoever asks is what is best for who acts.
    """
    kind = {"refusing": RefusingPlanner, "serving": ServingPlanner}.get(name, ExactPlanner)
    return kind(true_outcomes(mobility, count_clips=name in ("serving", "clip_oracle")), config or AdviceConfig())
