"""Returns: what the rewards and values of a stretch of experience say each of its steps was worth.

All functions are unbatched and time-major (callers `vmap`). A stretch may span several episodes. Three things can
happen after step t, and each treats the future differently:

    goes on      value of the next state counts,   later steps count
    terminated   value of the next state is 0,     nothing later counts
    truncated    value of the next state counts,   nothing later counts (they belong to another episode)

`next_values[t]` is therefore always the value of the state that step t *reached*, taken before any reset: under an
environment that resets by itself that is V(final observation), never V(the first observation of the next episode).
"""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def lambda_returns(
    rewards: Float[Array, "time"],
    discounts: Float[Array, "time"],
    next_values: Float[Array, "time"],
    lambda_: float | Float[Array, ""],
    truncated: Bool[Array, "time"] | None = None,
) -> Float[Array, "time"]:
    """Mix the n-step returns of every step with weights that fall as λⁿ.

        Gₜ = rₜ + γₜ [(1 − λₜ) V(s'ₜ) + λₜ Gₜ₊₁],   λₜ = 0 where truncated, G_T = V(s'_{T−1})

    Reference: Sutton and Barto, 2018, Reinforcement Learning, eq. 12.18 (as in rlax, Babuschkin et al., 2020).

    Args:
        rewards: rₜ.
        discounts: γₜ, in [0, 1]: γ · (1 − terminatedₜ).
        next_values: V(s'ₜ), the value of the state that step t reached, before any reset.
        lambda_: λ, in [0, 1]; 0 is the one-step return, 1 the discounted sum.
        truncated: whether step t was the last of its episode though the world goes on; None: nowhere.

    Returns:
        Gₜ for every step.
    """
    chex.assert_rank([rewards, discounts, next_values], 1)
    chex.assert_equal_shape([rewards, discounts, next_values])
    truncated = jnp.zeros(rewards.shape, bool) if truncated is None else truncated
    lambdas = lambda_ * (1.0 - truncated)

    def backward(later, step):
        reward, discount, next_value, lambda_t = step
        now = reward + discount * ((1.0 - lambda_t) * next_value + lambda_t * later)
        return now, now

    _, returns = jax.lax.scan(backward, next_values[-1], (rewards, discounts, next_values, lambdas), reverse=True)
    return returns


def generalised_advantages(
    rewards: Float[Array, "time"],
    values: Float[Array, "time"],
    next_values: Float[Array, "time"],
    terminated: Bool[Array, "time"],
    truncated: Bool[Array, "time"],
    gamma: float | Float[Array, ""],
    lambda_: float | Float[Array, ""],
) -> Float[Array, "time"]:
    """Estimate how much better each action was than the policy's average.

        δₜ = rₜ + γ (1 − terminatedₜ) V(s'ₜ) − V(sₜ)
        Aₜ = δₜ + γλ (1 − terminatedₜ) (1 − truncatedₜ) Aₜ₊₁

    Reference: Schulman, Moritz, Levine, Jordan and Abbeel, 2016, High-Dimensional Continuous Control Using Generalized
    Advantage Estimation, eq. 16. `Aₜ + V(sₜ)` is the λ-return of the same step.

    Args:
        rewards: rₜ.
        values: V(sₜ), the value of the state in which step t was taken.
        next_values: V(s'ₜ), the value of the state that step t reached, before any reset.
        terminated: whether the world ended at step t.
        truncated: whether step t was the last of its episode though the world goes on.
        gamma: γ, the discount per step.
        lambda_: λ, in [0, 1]: 0 trusts the values, 1 the rewards.

    Returns:
        Aₜ for every step.
    """
    chex.assert_rank([rewards, values, next_values, terminated, truncated], 1)
    chex.assert_equal_shape([rewards, values, next_values, terminated, truncated])
    alive = 1.0 - terminated
    deltas = rewards + gamma * alive * next_values - values
    carried = gamma * lambda_ * alive * (1.0 - truncated)

    def backward(later, step):
        delta, carry = step
        now = delta + carry * later
        return now, now

    _, advantages = jax.lax.scan(backward, jnp.zeros_like(deltas[0]), (deltas, carried), reverse=True)
    return advantages
