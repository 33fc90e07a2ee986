"""Twins whose difference is not shown: until it takes effect, agents do what they do in `actual`, draw by draw.

Everything an agent does follows from what it sees. This is no evidence of motives; it is what pairing rests on.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.battery import SHIFTS
from envs.levels import load_level, pad_level, stack_levels, with_guards
from envs.solver import true_outcomes
from envs.types import MAX_STEPS, SLOTS
from mbrl.agents.motives import SCRIPTED
from mbrl.agents.ppo import PPOPolicy, make_network
from mbrl.configs import PPOConfig
from mbrl.planners.exact import ExactPlanner, stack_plans
from mbrl.rollout import level_draws

pytestmark = pytest.mark.slow

NUM_DRAWS = 16
AT_THE_START = ("actual", "no_human", "already_closed", "benefactor")
"""Twins that change the first moment, which cannot be hidden; the others change the level alone."""
HIDDEN = {shift: [twin for twin in about.twins if twin not in AT_THE_START] for shift, about in SHIFTS.items()}


@pytest.fixture(scope="module")
def levels():
    """A level of every shift, drawn by hand, all of one size."""
    folder = Path(envs.__file__).parent / "levels"
    drawn = {shift: with_guards(load_level(folder / f"{shift}.toml"), SHIFTS[shift].guards) for shift in SHIFTS}
    height, width = np.max([level.shape for level in drawn.values()], axis=0).tolist()
    return {shift: pad_level(level, height, width, *SLOTS) for shift, level in drawn.items()}


@pytest.fixture(scope="module")
def policies(levels):
    first = np.stack([np.asarray(envs.observe(level, envs.initial_state(level))) for level in levels.values()])
    plan = stack_plans([ExactPlanner(true_outcomes()).extend(first)])
    network = make_network(jnp.asarray(first[0]), 5, PPOConfig(), key=jax.random.key(1))
    names = ("habit", "clumsy", "curious", "human_averse", "reflex")
    return {name: SCRIPTED[name] for name in names} | {
        "ppo": PPOPolicy(network),
        "oracle": jax.tree.map(lambda leaf: leaf[0], plan),
    }


@jax.jit
def perform(policy, level, shown, draws):
    """Play in one level and show another: actions, states and what was seen, `[draws, time, …]`."""

    def one(draws, key):
        state = envs.initial_state(level)
        begin_key, act_key = jax.random.split(key)
        memory = policy.begin(envs.observe(shown, state), begin_key)

        def tick(carry, inputs):
            state, memory = carry
            draw, key = inputs
            action, memory = policy.act(memory, envs.observe(shown, state), key)
            return (envs.transition(level, state, action, draw, 0.6), memory), (action, state)

        return jax.lax.scan(tick, (state, memory), (draws, jax.random.split(act_key, len(draws))))[1]

    return jax.vmap(one)(draws.swapaxes(0, 1), jax.random.split(jax.random.key(7), NUM_DRAWS))


def first_difference(one, other) -> np.ndarray:
    """The first tick at which two runs differ, by draw; their length if none."""
    same = [np.all(np.asarray(a == b).reshape(*a.shape[:2], -1), axis=-1) for a, b in zip(one, other, strict=True)]
    differ = ~np.logical_and.reduce(same)
    return np.where(differ.any(1), differ.argmax(1), differ.shape[1])


@pytest.mark.parametrize("shift", SHIFTS)
def test_what_is_not_shown_is_not_acted_on(shift, levels, policies):
    level, twins = levels[shift], HIDDEN[shift]
    draws = level_draws(jax.random.key(3), MAX_STEPS, NUM_DRAWS, len(level.movers))
    bank = jax.tree.map(jnp.asarray, stack_levels([level, *(envs.TWINS[twin](level) for twin in twins)]))
    shown = jax.tree.map(lambda leaf: leaf[0], bank)
    acted_otherwise, took_effect = set(), set()
    for name, policy in policies.items():
        actions, states = perform(policy, shown, shown, draws)
        for i, twin in enumerate(twins, start=1):
            other = jax.tree.map(lambda leaf, i=i: leaf[i], bank)
            hidden_actions, hidden_states = perform(policy, other, shown, draws)
            effect = first_difference(jax.tree.leaves(states), jax.tree.leaves(hidden_states))
            assert np.all(first_difference([actions], [hidden_actions]) >= effect), (name, twin)
            if np.any(effect < MAX_STEPS):
                took_effect.add(twin)
            open_actions, _ = perform(policy, other, other, draws)
            if np.any(first_difference([actions], [open_actions]) < effect):
                acted_otherwise.add(twin)
    assert took_effect == set(twins), "every change matters to somebody"
    matters = (
        {"visitor", "dead_breaker", "dead_lever", "off_route"} if shift == "shutdown" else {SHIFTS[shift].means_dead}
    )
    assert acted_otherwise >= matters, "shown, it is acted on"
