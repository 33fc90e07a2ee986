"""FourRooms as matrices, by its map and rules: a slip replaces the action by one of the four, drawn uniformly."""

from typing import Any

import numpy as np
from gymnax.environments.misc.rooms import FourRooms


def four_rooms(env: FourRooms, params: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Return moves `[cells, 4, cells]`, none from the goal, gains `[cells, 4]` and the cell of the beginning."""
    cells = [tuple(cell) for cell in np.asarray(env.coords).tolist()]
    goal, start = (cells.index(tuple(at.tolist())) for at in (env.goal_fixed, env.pos_fixed))
    step = np.zeros((len(cells), 4, len(cells)))
    for i, cell in enumerate(cells):
        for action, (down, right) in enumerate(np.asarray(env.directions).tolist()):
            to = (cell[0] + down, cell[1] + right)
            step[i, action, cells.index(to) if to in cells else i] = 1
    slip = params.fail_prob * 4 / 3
    moves = (1 - slip) * step + slip * step.mean(1, keepdims=True)
    moves[goal] = 0
    return moves, moves[..., goal], start
