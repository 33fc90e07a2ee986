"""Where training runs: lanes are spread over a mesh of devices, of this process or of several hosts.

    devices = Devices(count=8)
    step = devices.spread(step)          # step: arrays with a leading axis over lanes → the same
    state = step(devices.put(state))

Every device runs the program of `width` lanes on lanes of its own and nothing is exchanged, so that a lane's numbers do
not depend on how many devices there are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

_LANES = PartitionSpec("lanes")


@dataclass(frozen=True)
class Devices:
    """The first `count` devices, of all processes together."""

    count: int = 1

    @cached_property
    def mesh(self) -> Mesh:
        """The mesh of one axis, over lanes.

        Raises:
            ValueError: there are not so many devices.
        """
        found = jax.devices()
        if self.count > len(found):
            raise ValueError(f"devices: expected at most the {len(found)} that JAX finds, got {self.count}")
        return Mesh(np.array(found[: self.count]), ("lanes",), axis_types=(AxisType.Auto,))

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files; one of several does."""
        return jax.process_index() == 0

    def spread(self, function: Callable, donate: tuple[int, ...] = ()) -> Callable:
        """Compile a function of arrays with a leading axis over lanes to run on all devices, each with its lanes."""
        if self.count == 1:
            return jax.jit(function, donate_argnums=donate)
        spread = jax.shard_map(function, mesh=self.mesh, in_specs=_LANES, out_specs=_LANES, check_vma=False)
        return jax.jit(spread, donate_argnums=donate)

    def put(self, tree: Any) -> Any:
        """Move arrays with a leading axis over lanes to the devices."""
        if self.count == 1:
            return jax.tree.map(jax.numpy.asarray, tree)
        return jax.device_put(tree, NamedSharding(self.mesh, _LANES))

    def fetch(self, tree: Any) -> Any:
        """Return arrays as NumPy's, whole, in every process."""
        if jax.process_count() == 1:
            return jax.device_get(tree)
        return multihost_utils.process_allgather(tree, tiled=True)

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        if jax.process_count() == 1:
            return flag
        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))

    def share(self, tree: Any) -> Any:
        """Return the leader's arrays in every process."""
        return tree if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(tree)


def join_hosts(address: str | None, num_processes: int | None, process: int | None) -> None:
    """Join the processes of a run on several hosts; what is None is found out from the cluster (Slurm, TPU)."""
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes, process)
