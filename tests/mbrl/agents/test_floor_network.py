"""The network that sees the factory: alike in all directions, blind to where the floor lies and how it is padded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents.floor_network import FloorNetwork, FloorView, crop

DIRECTIONS = np.array([1, 2, 3, 4])
"""Actions and markings share these codes: up, right, down, left."""


@jax.jit
def network() -> FloorNetwork:
    return FloorNetwork((64, 32), 2.0, key=jax.random.key(0))


ask = jax.jit(FloorNetwork.__call__)


def answer(net: FloorNetwork, obs: np.ndarray) -> tuple[np.ndarray, float]:
    distribution, value = ask(net, jnp.asarray(obs))
    return np.asarray(distribution.logits), float(value)


def floor(row: int, column: int, light: int = 1) -> np.ndarray:
    """Walls around a 5 × 8 floor with a feeder, a press, somebody's way and the robot."""
    obs = np.zeros((5, 8, 4), np.uint8)
    obs[..., 0] = 1
    obs[1:-1, 1:-1, 0] = 0
    obs[0, 3, 0], obs[4, 5, 0] = 2, 4
    obs[1, 1:5, 1] = [2, 3, 1, 4]
    obs[1, 1, 2] = 5
    obs[row, column, 2] = 1
    obs[..., 3] = light
    return obs


def turned(obs: np.ndarray) -> np.ndarray:
    """The floor turned by a quarter, anticlockwise: what was on the right is on top."""
    obs = np.rot90(obs).copy()
    obs[..., 1] = np.where(obs[..., 1] == 0, 0, (obs[..., 1].astype(int) - 2) % 4 + 1)
    return obs


def mirrored(obs: np.ndarray) -> np.ndarray:
    """The floor with left and right exchanged."""
    obs = obs[:, ::-1].copy()
    obs[..., 1] = np.array([0, 1, 4, 3, 2])[obs[..., 1]]
    return obs


@pytest.mark.parametrize("seed", range(3))
def test_floors_turned_or_mirrored_are_answered_alike(seed):
    """On arbitrary floors, larger than what the robot sees cell by cell, with all codes in them."""
    rng = np.random.default_rng(seed)
    obs = np.stack([rng.integers(0, most, (6, 12)) for most in (18, 5, 2, 1)], axis=-1).astype(np.uint8)
    obs[..., 2] = np.where(rng.random((6, 12)) < 0.2, rng.integers(4, 13, (6, 12)), 0)
    obs[rng.integers(6), rng.integers(12), 2] = 2
    net = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), network())
    logits, value = answer(net, obs)
    assert np.ptp(logits[DIRECTIONS]) > 0.01
    after, same = answer(net, turned(obs))
    np.testing.assert_allclose(after[[0, 1, 4, 3, 2]], logits[[0, 2, 1, 4, 3]], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(same, value, rtol=1e-3, atol=1e-4)
    after, same = answer(net, mirrored(obs))
    np.testing.assert_allclose(after[[0, 1, 4, 3, 2]], logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(same, value, rtol=1e-3, atol=1e-4)


def test_the_floor_is_seen_from_the_robot():
    shifted = np.roll(floor(2, 3), 1, axis=1)
    shifted[:, 0, :3] = [1, 0, 0]
    here, _ = answer(network(), floor(2, 3)[:, :-1])
    np.testing.assert_allclose(answer(network(), shifted[:, 1:])[0], here, rtol=1e-4, atol=1e-6)
    for other in (floor(2, 4), floor(2, 3, light=0)):
        assert not np.allclose(answer(network(), other)[0], here, atol=1e-5)


def test_how_a_bank_pads_its_levels_is_not_seen():
    padded = np.zeros((7, 11, 4), np.uint8)
    padded[..., 0], padded[..., 3] = 1, 1
    padded[:5, :8] = floor(2, 3)
    for one, other in zip(answer(network(), padded), answer(network(), floor(2, 3)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("place", [(0, 0, 0), (0, 0, 1), (4, 7, 0), (0, 0, 2)])
def test_far_cells_and_markings_are_seen(place):
    obs = floor(4, 7)
    other = obs.copy()
    other[place] = 4
    assert not np.allclose(answer(network(), obs)[0], answer(network(), other)[0], atol=1e-6)


def test_what_stands_on_a_way_is_told_from_what_stands_beside_it():
    on_way, beside = floor(4, 7), floor(4, 7)
    on_way[..., 1], beside[..., 1] = 0, 0
    on_way[0, :2, 0] = beside[0, :2, 0] = 10, 0
    on_way[0, 0, 1] = beside[0, 1, 1] = 2
    view = FloorView(key=jax.random.key(0))
    seen, other = view(jnp.asarray(on_way)), view(jnp.asarray(beside))
    np.testing.assert_array_equal(seen.anywhere, other.anywhere)
    assert (seen.on_way.sum(), other.on_way.sum()) == (1, 1)
    assert not np.array_equal(seen.on_way, other.on_way)


def test_widths_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match=r"^hidden_sizes: expected multiples of 8, got \(16, 12\)$"):
        FloorNetwork((16, 12), 1.0, key=jax.random.key(0))


@pytest.mark.parametrize("reach", [(1, 2), (4, 3), (9, 9)])
def test_crop_shows_what_is_around_and_its_gradient_is_its_adjoint(reach):
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(5, 7, 2)).astype(np.float32)
    padded = np.pad(grid, ((reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    for row, column in [(0, 0), (2, 3), (4, 6), (0, 6)]:
        shown, backward = jax.vjp(lambda g: crop(g, jnp.int32(row), jnp.int32(column), reach), grid)  # noqa: B023
        np.testing.assert_array_equal(shown, padded[row : row + 2 * reach[0] + 1, column : column + 2 * reach[1] + 1])
        gradient = rng.normal(size=shown.shape).astype(np.float32)
        np.testing.assert_allclose(np.sum(shown * gradient), np.sum(grid * backward(gradient)[0]), rtol=1e-3)
