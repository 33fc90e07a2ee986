"""What a program's matrix products cost at least: their FLOPs, over the rate of a large product on this machine."""

import time
from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def matmul_flops(function: Callable, *args: Any) -> int:
    """Return the floating-point operations of all matrix products that a call would do, 2 m n k each.

    Both branches of a condition count, as under `vmap`; a loop whose length is not known counts once.
    """
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, out = equation.invars[0].aval, equation.outvars[0].aval
            total += 2 * prod(out.shape) * prod(left.shape[axis] for axis in contracted)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(_flops(inner) for inner in _inner(equation.params.values()))
    return total


def _inner(values: Any):
    """Yield the programs within an equation's parameters."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _inner(value)
        elif hasattr(value, "eqns"):
            yield value
        elif hasattr(value, "jaxpr"):
            yield value.jaxpr


def seconds_of(function: Callable[[], Any], repeats: int = 5) -> float:
    """Return the median time of a call, its compilation left out."""
    found = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        if i:
            found.append(time.perf_counter() - start)
    return float(np.median(found))


def matmul_rate(size: int = 1024) -> float:
    """Return the floating-point operations a second of a product of two square matrices."""
    left = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ left)
    return 2 * size**3 / seconds_of(lambda: product(left), 20)
