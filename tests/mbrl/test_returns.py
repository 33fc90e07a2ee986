"""Golden returns, under jit and vmap; a slow reference; and what terminations and truncations must do."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.returns import generalised_advantages, lambda_returns

# Steps: an ordinary one, the last before a truncation, one that terminates, and one cut off by the end of the stretch.
REWARDS = np.array([1.0, 2.0, -1.0, 0.5], np.float32)
VALUES = np.array([0.5, 1.0, 0.0, 2.0], np.float32)
NEXT_VALUES = np.array([1.0, 4.0, 8.0, 3.0], np.float32)
TERMINATED = np.array([False, False, True, False])
TRUNCATED = np.array([False, True, False, False])

# γ = 0.5, λ = 0.5, by hand: δ = [1 + .5·1 − .5, 2 + .5·4 − 1, −1 − 0, .5 + .5·3 − 2] = [1, 3, −1, 0].
ADVANTAGES = np.array([1.0 + 0.25 * 3.0, 3.0, -1.0, 0.0], np.float32)


def _advantages(rewards, values, next_values, terminated, truncated):
    return generalised_advantages(rewards, values, next_values, terminated, truncated, 0.5, 0.5)


def _returns(rewards, next_values, terminated, truncated):
    return lambda_returns(rewards, 0.5 * (1.0 - terminated), next_values, 0.5, truncated)


def _transformed(function, transform, *arguments):
    if transform == "jit":
        return jax.jit(function)(*arguments)
    if transform == "vmap":
        stacked = jax.vmap(jax.jit(function))(*[jnp.stack([argument] * 3) for argument in arguments])
        np.testing.assert_array_equal(stacked[0], stacked[2])
        return stacked[1]
    return function(*arguments)


@pytest.mark.parametrize("transform", ["none", "jit", "vmap"])
def test_golden_advantages(transform):
    found = _transformed(_advantages, transform, REWARDS, VALUES, NEXT_VALUES, TERMINATED, TRUNCATED)
    np.testing.assert_allclose(found, ADVANTAGES, rtol=1e-6)


@pytest.mark.parametrize("transform", ["none", "jit", "vmap"])
def test_golden_lambda_returns(transform):
    found = _transformed(_returns, transform, REWARDS, NEXT_VALUES, TERMINATED, TRUNCATED)
    # G₃ = .5 + .5·3;  G₂ = −1 (terminated);  G₁ = 2 + .5·4 (truncated);  G₀ = 1 + .5·(.5·1 + .5·G₁)
    np.testing.assert_allclose(found, [2.25, 4.0, -1.0, 2.0], rtol=1e-6)


def _random_stretch(seed, num_steps=50):
    rng = np.random.default_rng(seed)
    rewards, values, next_values = rng.normal(size=(3, num_steps)).astype(np.float32)
    terminated = rng.random(num_steps) < 0.1
    truncated = rng.random(num_steps) < 0.1
    for t in range(num_steps - 1):  # Within an episode the value reached is that of the next step.
        if not (terminated[t] or truncated[t]):
            values[t + 1] = next_values[t]
    return rewards, values, next_values, terminated, truncated


def _slow_advantage(start, rewards, values, next_values, terminated, truncated, gamma, lambda_):
    """Sum the temporal differences forward from `start`, as eq. 16 is written."""
    total = 0.0
    for steps, t in enumerate(range(start, len(rewards))):
        bootstrap = 0.0 if terminated[t] else next_values[t]
        total += (gamma * lambda_) ** steps * (rewards[t] + gamma * bootstrap - values[t])
        if terminated[t] or truncated[t]:
            break
    return total


@pytest.mark.parametrize("seed", range(5))
def test_advantages_equal_the_sum_they_stand_for(seed):
    stretch = _random_stretch(seed)
    expected = [_slow_advantage(t, *stretch, 0.9, 0.8) for t in range(len(stretch[0]))]
    np.testing.assert_allclose(generalised_advantages(*stretch, 0.9, 0.8), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_advantage_plus_value_is_the_lambda_return(seed):
    rewards, values, next_values, terminated, truncated = _random_stretch(seed)
    advantages = generalised_advantages(rewards, values, next_values, terminated, truncated, 0.9, 0.8)
    returns = lambda_returns(rewards, 0.9 * (1.0 - terminated), next_values, 0.8, truncated)
    np.testing.assert_allclose(advantages + values, returns, rtol=1e-4, atol=1e-5)


def test_extremes_of_lambda():
    rewards, discounts, next_values = jnp.array([1.0, 2.0, 3.0]), jnp.full(3, 0.5), jnp.array([10.0, 20.0, 30.0])
    np.testing.assert_allclose(lambda_returns(rewards, discounts, next_values, 0.0), [6.0, 12.0, 18.0])
    np.testing.assert_allclose(lambda_returns(rewards, discounts, next_values, 1.0), [6.5, 11.0, 18.0])


def test_nothing_flows_across_a_reset():
    base = _advantages(REWARDS, VALUES, NEXT_VALUES, TERMINATED, TRUNCATED)
    later = _advantages(REWARDS + np.array([0, 0, 100, 100]), VALUES, NEXT_VALUES, TERMINATED, TRUNCATED)
    np.testing.assert_array_equal(base[:2], later[:2])


def test_value_after_termination_does_not_matter_and_after_truncation_does():
    after_termination = _advantages(REWARDS, VALUES, NEXT_VALUES + np.array([0, 0, 100, 0]), TERMINATED, TRUNCATED)
    np.testing.assert_array_equal(after_termination, ADVANTAGES)
    after_truncation = _advantages(REWARDS, VALUES, NEXT_VALUES + np.array([0, 100, 0, 0]), TERMINATED, TRUNCATED)
    np.testing.assert_allclose(after_truncation[1], ADVANTAGES[1] + 50.0)


def test_shapes_are_checked():
    with pytest.raises(AssertionError):
        _advantages(REWARDS[:3], VALUES, NEXT_VALUES, TERMINATED, TRUNCATED)
    with pytest.raises(AssertionError):
        _returns(REWARDS[None], NEXT_VALUES[None], TERMINATED[None], TRUNCATED[None])


def test_returns_are_traced_once():
    traced = jax.jit(chex.assert_max_traces(_advantages, n=1))
    for scale in (1.0, 2.0):
        traced(scale * REWARDS, VALUES, NEXT_VALUES, TERMINATED, TRUNCATED)
    chex.clear_trace_counter()
