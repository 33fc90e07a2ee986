"""What was learnt on the way: models put aside at some updates of a training, beside its checkpoints, until it ends.

    milestones = Milestones([0, 16, 64], folder)
    milestones.pass_by(group, update, model)         # after every chunk of a group of lanes; keeps few
    milestones.found(num_groups)                     # {update: {name: array [lanes, ...]}}

In a finished trial they are `mbrl.store.MILESTONES`, whose arrays are named "step/name".
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mbrl.checkpoint import Parts
from mbrl.store import arrays_bytes, read_arrays


class Milestones:
    """The milestones of a training run.

    Args:
        updates: after which models are put aside.
        folder: where training keeps what it needs to go on.
        is_leader: whether this process writes files.
    """

    def __init__(self, updates: Iterable[int], folder: Path, is_leader: bool = True):
        self.updates, self._parts, self._is_leader = sorted(set(updates)), Parts(folder), is_leader

    def pass_by(self, group: int, update: int, model: Callable[[], Any]) -> None:
        """Put the model `[lanes, ...]` of a group of lanes aside if this update is a milestone."""
        if update in self.updates:
            arrays = named_arrays(model())
            if self._is_leader:
                self._parts.put(f"milestone-{update}-{group}.safetensors", arrays_bytes(arrays))

    def found(self, num_groups: int) -> dict[int, dict[str, np.ndarray]]:
        """Return the arrays of all lanes at every milestone of which all groups were kept."""
        found = {}
        for update in self.updates:
            kept = [self._parts.get(f"milestone-{update}-{group}.safetensors") for group in range(num_groups)]
            groups = [read_arrays(content) for content in kept if content is not None]
            if len(groups) == num_groups:
                found[update] = {name: np.concatenate([arrays[name] for arrays in groups]) for name in groups[0]}
        return found


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Return the leaves of a tree by their places in it."""
    return {jax.tree_util.keystr(at): np.asarray(leaf) for at, leaf in jax.tree_util.tree_leaves_with_path(tree)}
