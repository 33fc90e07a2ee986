"""Where training runs: groups of lanes, each on a device of its own, of this process or of several hosts.

    devices = Devices(count=8)
    step = devices.spread(step)            # step: arrays with a leading axis over lanes → the same
    states = step(devices.put(state))      # one state for each device of this process
    state = devices.fetch(states)          # all lanes, in every process

Every device runs the same program on its own lanes and nothing is exchanged while it runs. A program partitioned over a
mesh would do the same, but is compiled differently for every number of devices and then rounds differently, so that a
seed's result would depend on where it was trained.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils


@dataclass(frozen=True)
class Devices:
    """The first `count` devices, of all processes together; every process has equally many of them."""

    count: int = 1

    @cached_property
    def mine(self) -> tuple[tuple[int, Any], ...]:
        """Number and device of those that belong to this process.

        Raises:
            ValueError: there are not so many devices, or they cannot be shared out evenly.
        """
        found = jax.devices()
        if self.count > len(found):
            raise ValueError(f"devices: expected at most the {len(found)} that JAX finds, got {self.count}")
        if self.count % jax.process_count():
            raise ValueError(f"devices: expected a multiple of {jax.process_count()} processes, got {self.count}")
        each = len(found) // jax.process_count()
        used = self.count // jax.process_count()
        by_process = [device for i, device in enumerate(found) if i % each < used]
        own = [(i, device) for i, device in enumerate(by_process) if device.process_index == jax.process_index()]
        return tuple(own)

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files; one of several does."""
        return jax.process_index() == 0

    def spread(self, function: Callable, donate: tuple[int, ...] = ()) -> Callable[..., list]:
        """Compile a function of arrays with a leading axis over lanes; it is called once for each device."""
        compiled = jax.jit(function, donate_argnums=donate)

        def run(*parts: list) -> list:
            # In threads, because the first call compiles, for one device after the other otherwise.
            with ThreadPoolExecutor(len(self.mine)) as pool:
                return list(pool.map(lambda each: compiled(*each), zip(*parts, strict=True)))

        return run

    def put(self, tree: Any) -> list:
        """Move arrays with a leading axis over all lanes to the devices; return what each device has of them."""
        lanes = len(jax.tree.leaves(tree)[0]) // self.count
        cut = lambda leaf, i: leaf[i * lanes : (i + 1) * lanes]  # noqa: E731
        return [jax.device_put(jax.tree.map(lambda leaf, i=i: cut(leaf, i), tree), d) for i, d in self.mine]

    def fetch(self, parts: Sequence[Any]) -> Any:
        """Return all lanes in every process, as NumPy's arrays but for keys."""
        host = [jax.device_get(jax.tree.map(_words, part)) for part in parts]
        whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *host)
        if jax.process_count() > 1:
            every = [_unpack(row, whole) for row in multihost_utils.process_allgather(_pack(whole))]
            whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), *every)
        return jax.tree.map(_as_before, whole, parts[0])

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process."""
        if jax.process_count() == 1:
            return flag
        return bool(np.any(multihost_utils.process_allgather(np.array(flag))))

    def share(self, tree: Any) -> Any:
        """Return the leader's arrays in every process."""
        if jax.process_count() == 1:
            return tree
        words = jax.device_get(jax.tree.map(_words, tree))
        theirs = _unpack(np.asarray(multihost_utils.broadcast_one_to_all(_pack(words))), words)
        return jax.tree.map(_as_before, theirs, tree)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _words(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _pack(tree: Any) -> np.ndarray:
    """Write arrays (NumPy) as one row of bytes: several collectives at once may meet in another order elsewhere."""
    return np.frombuffer(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)), np.uint8)


def _unpack(row: np.ndarray, like: Any) -> Any:
    leaves, at = [], 0
    for leaf in map(np.asarray, jax.tree.leaves(like)):
        leaves.append(np.frombuffer(row[at : at + leaf.nbytes].tobytes(), leaf.dtype).reshape(leaf.shape))
        at += leaf.nbytes
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _as_before(words: Any, before: Any) -> Any:
    return jax.random.wrap_key_data(words) if _is_key(before) else words


def join_hosts(address: str | None, num_processes: int | None, process: int | None) -> None:
    """Join the processes of a run on several hosts; what is None is found out from the cluster (Slurm, TPU).

    Call before anything is computed.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes, process)
