"""States as rows of small integers: the form in which the solver counts them and planners look them up."""

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
