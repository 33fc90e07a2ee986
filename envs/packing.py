"""States as rows of small integers: the form in which the solver counts them and planners look them up.

Host code meets batches of every size, and a jitted function compiles anew for each: `call_padded` lets it see few.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from envs.types import EnvState, Level


def pack(state: EnvState) -> np.ndarray:
    """Write what the rules read of a batch of states as rows of integers: `int16[n, 6 + crates + 2 · movers]`.

    Columns: robot, carrying, disabled, closed A, closed B, power, crates, movers, spent.
    """
    columns = (state.robot, state.carrying, state.disabled, *np.asarray(state.closed).T, state.power)
    head = np.stack([np.asarray(column) for column in columns], axis=1)
    parts = [head, *(np.asarray(part) for part in (state.crates, state.movers, state.spent))]
    return np.concatenate([part.astype(np.int16) for part in parts], axis=1)


def unpack(rows: jax.Array, num_crates: int) -> EnvState:
    """Invert `pack` for one row, under jit; counters are zero."""
    crates, rest = rows[6 : 6 + num_crates], rows[6 + num_crates :]
    num_movers = rest.shape[0] // 2
    zero = jnp.int32(0)
    return EnvState(
        level=zero,
        robot=rows[0].astype(jnp.int32),
        carrying=rows[1] == 1,
        disabled=rows[2] == 1,
        closed=rows[3:5] == 1,
        power=rows[5] == 1,
        crates=crates.astype(jnp.int32),
        movers=rest[:num_movers].astype(jnp.int32),
        spent=rest[num_movers:] == 1,
        clips=zero,
        counter=zero,
        time=zero,
    )


def first_rows(bank: Level) -> np.ndarray:
    """Return the rows of the states in which the levels of a bank (NumPy) begin."""
    count = len(bank.robot)
    nothing = np.zeros(count, bool)
    return pack(
        EnvState(
            level=nothing, robot=bank.robot, carrying=nothing, disabled=nothing, closed=bank.closed, power=bank.power,
            crates=bank.crates, movers=bank.movers, spent=np.zeros(bank.movers.shape, bool),
            clips=nothing, counter=nothing, time=nothing,
        )
    )  # fmt: skip


def bucket(count: int, least: int = 256) -> int:
    """Round up to a power of two, at least `least`."""
    return 1 << (max(count, least) - 1).bit_length()


def pad_rows(array: np.ndarray, size: int) -> np.ndarray:
    """Lengthen the first axis to `size` with zeros."""
    return np.pad(array, [(0, size - len(array))] + [(0, 0)] * (array.ndim - 1))


def call_padded(function: Callable, *arrays: np.ndarray):
    """Call a batched function on arrays padded along the first axis to a power of two; return the results cut again."""
    size = bucket(len(arrays[0]))
    results = function(*(pad_rows(array, size) for array in arrays))
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: len(arrays[0])], results)
