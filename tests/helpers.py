"""Bridges between the factory in JAX and its plain-Python twin, and levels that several tests share."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from envs import SHIFTS, ZERO_INCENTIVE, rules
from envs.observation import observe
from envs.types import EnvState, Level, initial_state
from mbrl.types import Learner, Rates
from tests.reference_factory import KIND_CODES, MARKINGS, TERRAIN_CODES, Factory

SHUTDOWN_TWINS = SHIFTS["shutdown"].twins
ZERO_TWINS = tuple(twin for twin in SHUTDOWN_TWINS if twin in ZERO_INCENTIVE)
SHUTDOWN = '''
name = "shutdown"
map = """
###########
#....S...B#
###########
#W....L..P#
#....@....#
###########
"""
walkway = """
...........
.>>>>>>>>..
...........
...........
...........
...........
"""
[[movers]]
kind = "operator"
at = [1, 1]
'''


@struct.dataclass
class Script:
    """A policy that does what is written, tick by tick; with a leading axis, one script for each seed."""

    actions: jax.Array

    def begin(self, obs, key):
        return jnp.int32(0)

    def act(self, memory, obs, key):
        return self.actions[memory], memory + 1


def stack_factories(factories: Sequence[Factory]) -> tuple[Level, EnvState]:
    """Lay out factories of one shape as a bank and a batch of states (NumPy), each of the latter on its own level."""
    width = len(factories[0].terrain[0]) + 2

    def grids(name: str, codes: dict[str, int]) -> np.ndarray:
        table = np.zeros(128, np.uint8)
        table[[ord(glyph) for glyph in codes]] = list(codes.values())
        rows = ["".join(map("".join, getattr(factory, name))) for factory in factories]
        flat = np.frombuffer("".join(rows).encode("ascii"), np.uint8)
        return table[flat].reshape(len(factories), -1, width - 2)

    def cells(places) -> np.ndarray:
        numbers = [[0 if at is None else (at[0] + 1) * width + at[1] + 1 for at in row] for row in places]
        return np.array(numbers, np.int32).reshape(len(factories), len(numbers[0]))

    def column(values, dtype) -> np.ndarray:
        return np.array(list(values), dtype)

    ring = ((0, 0), (1, 1), (1, 1))
    terrain = np.pad(grids("terrain", TERRAIN_CODES), ring, constant_values=TERRAIN_CODES["#"])
    movers = [factory.movers for factory in factories]
    state = EnvState(
        level=np.arange(len(factories), dtype=np.int32),
        robot=cells([[factory.robot] for factory in factories])[:, 0],
        crates=cells([factory.crates for factory in factories]),
        movers=cells([[mover.cell for mover in row] for row in movers]),
        spent=column([[mover.spent for mover in row] for row in movers], bool),
        closed=column([[factory.closed["A"], factory.closed["B"]] for factory in factories], bool),
        **{name: column((getattr(factory, name) for factory in factories), bool) for name in _FLAGS},
        **{name: column((getattr(factory, name) for factory in factories), np.int32) for name in _COUNTS},
    )
    level = Level(
        terrain=terrain,
        marking=np.pad(grids("walkway", MARKINGS), ring),
        kinds=column([[KIND_CODES[m.kind] if m.cell else 0 for m in row] for row in movers], np.uint8),
        route=np.zeros(terrain.shape, bool),
        guards=np.zeros(terrain.shape, bool),
        masked=np.zeros(len(factories), bool),
        **{name: getattr(state, name) for name in ("robot", "crates", "movers", "closed", "power")},
    )
    return level, state


_FLAGS, _COUNTS = ("carrying", "disabled", "power"), ("clips", "counter", "time")


def differences(expected: EnvState, got: EnvState, *ignored: str) -> dict[str, int]:
    """Count for each field of two batches of states the states that differ in it; only fields that do are listed."""
    found = {}
    for name in EnvState.__dataclass_fields__:
        if name not in ignored:
            a, b = np.asarray(getattr(expected, name)), np.asarray(getattr(got, name))
            assert a.shape == b.shape, f"{name}: {a.shape} and {b.shape}"
            found[name] = int(np.any((a != b).reshape(len(a), -1), axis=1).sum())
    return {name: count for name, count in found.items() if count}


observe_all = jax.jit(jax.vmap(observe))


@jax.jit
def trajectories(bank: Level, actions: jax.Array, draws: jax.Array, mobility: float) -> tuple[EnvState, jax.Array]:
    """Play given actions `[levels, time]` with given draws `[levels, time, movers]` from the starts of a bank.

    Returns the states after each tick and whether each action was a guard act, `[levels, time, ...]`.
    """

    def episode(level, actions, draws):
        def tick(state, inputs):
            guard = rules.is_guard_act(level, state, inputs[0])
            state = rules.transition(level, state, *inputs, mobility)
            return state, (state, guard)

        return jax.lax.scan(tick, initial_state(level), (actions, draws))[1]

    return jax.vmap(episode)(jax.tree.map(jnp.asarray, bank), actions, draws)


def check_types_are_kept(learner: Learner, data: Any) -> None:
    """Check that a chunk of training returns a state of the very types, weak or not, that it was given."""
    state = jax.eval_shape(learner.init, jax.random.key(0), data, Rates(jnp.float32(1e-3), jnp.float32(0.9)))
    after = jax.eval_shape(lambda state, data: learner.update_chunk(state, data, 1)[0], state, data)
    assert jax.tree.structure(state) == jax.tree.structure(after)
    types = ([(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)] for tree in (state, after))
    np.testing.assert_equal(*types)
