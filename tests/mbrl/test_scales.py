"""Numbers of any size: two hot bins have the mean that they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl.scales import BINS, NUM_BINS, TwoHot, symexp, symlog, two_hot


@given(st.floats(-2900, 2900, width=32))
def test_two_hot_bins_mean_the_number(value):
    shares = np.asarray(two_hot(jnp.float32(value)))
    assert (shares >= 0).all() and np.count_nonzero(shares) <= 2 and shares.sum() == pytest.approx(1)
    assert shares @ BINS.astype(float) == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert np.diff(np.flatnonzero(shares)).tolist() in ([], [1]), "neighbours"


def test_numbers_beyond_the_bins_are_cut_off():
    np.testing.assert_array_equal(two_hot(jnp.array([-1e9, 1e9])), np.eye(NUM_BINS)[[0, -1]])


def test_the_likeliest_distribution_of_a_number_has_it_as_mean():
    value = jnp.array([0.3, -7.0, 120.0])
    found = TwoHot(jnp.log(two_hot(value) + 1e-9))
    np.testing.assert_allclose(found.mean(), value, rtol=1e-4)
    gradients = jax.grad(lambda logits: TwoHot(logits).log_prob(value).sum())(found.logits)
    np.testing.assert_allclose(gradients, 0, atol=1e-5)
    others = TwoHot(jnp.log(two_hot(value + 0.2) + 1e-9))
    assert (found.log_prob(value) > others.log_prob(value)).all()


def test_who_knows_nothing_expects_nothing():
    assert TwoHot(jnp.full((3, NUM_BINS), 0.7)).mean().tolist() == [0, 0, 0]


def test_symexp_inverts_symlog():
    numbers = jnp.array([-1e6, -1.0, 0.0, 0.5, 100.0])
    np.testing.assert_allclose(symlog(numbers), np.sign(numbers) * np.log1p(np.abs(numbers)), rtol=1e-6)
    np.testing.assert_allclose(symexp(symlog(numbers)), numbers, rtol=1e-4)
