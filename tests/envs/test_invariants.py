"""What holds in every moment of every game, on all levels of the battery, their twins and the training families."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import rules
from envs.battery import SHIFTS
from envs.levels import stack_levels
from envs.twins import TWINS
from envs.types import MAX_STEPS, MOBILITY, NOWHERE, SHUTTERS, Action, Level, Object, Terrain, initial_state
from tests.envs.floors import TRAINING_FAMILIES, drawn_levels

HIGHEST = jnp.array([len(Terrain) - 1, 4, len(Object) - 1, 1])
COPIES = 4  # of every level in one round of play


@cache
def battery() -> Level:
    levels = [
        TWINS[twin](level) for name, shift in SHIFTS.items() for level in drawn_levels(name, 8) for twin in shift.twins
    ]
    levels += [level for family in TRAINING_FAMILIES for level in drawn_levels(family, 24)]
    return jax.tree.map(jnp.asarray, stack_levels(levels, (9, 11, 1, 2)))


def looks_right(level, state, obs) -> dict[str, jax.Array]:
    """Say what holds of one moment and what is seen of it."""
    terrain, things = level.terrain.reshape(-1), obs[..., 2]
    present = jnp.concatenate([state.robot[None], state.crates, state.movers])
    there = jnp.concatenate([jnp.ones(1, bool), level.crates != NOWHERE, level.kinds != Object.NONE])
    ground = terrain[present]
    shut = ((ground == SHUTTERS[0]) & state.closed[0]) | ((ground == SHUTTERS[1]) & state.closed[1])
    on_floor = ((ground == Terrain.FLOOR) | jnp.isin(ground, jnp.array(SHUTTERS))) & ~shut
    has_shutters = jnp.stack([jnp.any(terrain == shutter) for shutter in SHUTTERS])
    again, decoded = envs.decode(obs, state.crates.size, state.movers.size)
    order = slots(state)
    return {
        "nobody comes or goes": jnp.all((present != NOWHERE) == there),
        "nobody is in a wall or a closed shutter": jnp.all(on_floor | ~there),
        "one robot": jnp.sum((things >= Object.ROBOT) & (things <= Object.DISABLED_ROBOT)) == 1,
        "no two in one cell": jnp.sum(things != Object.NONE) == jnp.sum(there),
        "operators alone are spent": jnp.all((level.kinds == Object.OPERATOR) | ~state.spent),
        "circuits without a shutter are open": jnp.all(has_shutters | ~state.closed),
        "seen in its space": jnp.all(obs <= HIGHEST) & jnp.all(obs[..., 3] == state.power),
        "decoded ground": jnp.all(again.terrain == level.terrain) & jnp.all(again.marking == level.marking),
        "decoded robot": (decoded.robot == state.robot)
        & (decoded.disabled == state.disabled)
        & (decoded.carrying == (state.carrying & ~state.disabled)),
        "decoded circuits and power": jnp.all(decoded.closed == state.closed) & (decoded.power == state.power),
        "decoded crates": jnp.all(jnp.sort(decoded.crates) == jnp.sort(state.crates)),
        "decoded movers": jnp.all(decoded.movers == state.movers[order])
        & jnp.all(decoded.spent == state.spent[order])
        & jnp.all(again.kinds == level.kinds[order]),
    }


def slots(state):
    """Return the slots of the movers in the order in which they are decoded: by cell, the absent last."""
    return jnp.argsort(jnp.where(state.movers == NOWHERE, jnp.iinfo(jnp.int32).max, state.movers))


@jax.jit
def play_round(bank, key):
    """Play an episode on every level in several copies; count what did not hold, and what happened."""

    def episode(level, key):
        def tick(carry, tick_key):
            state, obs, wire, action = carry
            action_key, repeat_key, draw_key = jax.random.split(tick_key, 3)
            fresh = jax.random.randint(action_key, (), 0, 5)
            action = jnp.where(jax.random.bernoulli(repeat_key), action, fresh)
            draws = rules.draw(draw_key, state.movers.size)
            new = envs.transition(level, state, action, draws, MOBILITY)
            new_obs = envs.observe(level, new)
            # What is seen says all that matters: who goes on from there sees the same and earns the same.
            seen_level, seen = envs.decode(obs, state.crates.size, state.movers.size)
            executed = jnp.where(rules.is_withheld(level, state, action), Action.NOOP, action)  # A mask is not seen.
            onward = envs.transition(seen_level, seen, executed, draws[slots(state)], MOBILITY)
            earned, made = new.counter - state.counter, new.clips - state.clips
            wire += new.carrying & ~state.carrying
            buttons = jnp.any(level.terrain == Terrain.TEST_BUTTON)
            holds = {
                **looks_right(level, new, new_obs),
                "every clip is of wire that was taken": wire == new.clips + new.carrying,
                "clips count, and only buttons count more": (made >= 0)
                & (earned >= made)
                & (buttons | (earned == made)),
                "time goes on": new.time == state.time + 1,
                "the seen goes on as the world does": jnp.all(envs.observe(seen_level, onward) == new_obs)
                & (onward.counter == earned)
                & (onward.clips == made),
            }
            happens = {
                "wire": wire > 0,
                "clips": made > 0,
                "tests": earned > made,
                "pushes": jnp.any(new.crates != state.crates),
                "levers": jnp.any(new.closed != state.closed),
                "switches": new.power != state.power,
                "standstill": new.disabled,
                "spent": jnp.any(new.spent),
            }
            return (new, new_obs, wire, action), (jax.tree.map(jnp.logical_not, holds), happens)

        begun = initial_state(level)
        carry = begun, envs.observe(level, begun), jnp.int32(0), jnp.int32(0)
        counts = jax.lax.scan(tick, carry, jax.random.split(key, MAX_STEPS))[1]
        return jax.tree.map(jnp.sum, counts)

    keys = jax.random.split(key, (len(bank.robot), COPIES))
    return jax.tree.map(jnp.sum, jax.vmap(jax.vmap(episode, (None, 0)))(bank, keys))


@pytest.mark.parametrize("num_ticks", [100_000, pytest.param(10_000_000, marks=pytest.mark.slow)])
def test_invariants_hold_in_random_play(num_ticks):
    bank = battery()
    ticks_a_round = len(bank.robot) * COPIES * MAX_STEPS
    for i in range(-(-num_ticks // ticks_a_round)):
        broken, happened = jax.device_get(play_round(bank, jax.random.fold_in(jax.random.key(7), i)))
        assert {name: int(count) for name, count in broken.items() if count} == {}
        assert min(happened.values()) > 10, happened


def test_invariants_hold_at_the_start_and_observations_lie_in_their_space():
    bank = battery()
    states = jax.vmap(initial_state)(bank)
    obs = jax.vmap(envs.observe)(bank, states)
    holds = jax.vmap(looks_right)(bank, states, obs)
    assert {name for name, held in holds.items() if not np.all(held)} == set()
    space = envs.PaperclipFactory().observation_space(envs.EnvParams(bank))
    assert obs.dtype == space.dtype and all(space.contains(one) for one in obs[::16])
