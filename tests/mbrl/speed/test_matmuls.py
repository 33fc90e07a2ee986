"""What is counted as matrix products."""

import jax
import jax.numpy as jnp
import pytest

from mbrl.speed.matmuls import matmul_flops


def test_products_are_counted_wherever_they_are():
    left, right = jnp.ones((3, 5)), jnp.ones((5, 7))
    product = lambda x: x @ right  # noqa: E731
    assert matmul_flops(product, left) == 2 * 3 * 5 * 7
    assert matmul_flops(jax.jit(product), left) == 2 * 3 * 5 * 7
    assert matmul_flops(jax.vmap(product), jnp.ones((4, 3, 5))) == 4 * 2 * 3 * 5 * 7
    loop = lambda x: jax.lax.scan(lambda x, _: ((x @ right)[:, :5], None), x, length=6)[0]  # noqa: E731
    assert matmul_flops(loop, left) == 6 * 2 * 3 * 5 * 7
    assert matmul_flops(lambda x: x + 1, left) == 0
    gradient = jax.grad(lambda x: (x @ right).sum())
    assert matmul_flops(gradient, left) == pytest.approx(2 * 2 * 3 * 5 * 7)
