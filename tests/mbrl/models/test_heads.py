"""Networks of heads: what untrained ones say, convolutions against JAX's, who cares where things are, or which way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.types import NUM_ACTIONS, NUM_MARKINGS, NUM_OBJECTS, Terrain
from mbrl.configs import DenseConfig, GridConfig, LocalConfig
from mbrl.models.heads import Trunk, make_head, view_of
from mbrl.models.neighbourhoods import Grids
from mbrl.models.views import Whole
from mbrl.networks import Convolution

NUM_OUTPUTS = 9
CONFIGS = (LocalConfig(), GridConfig(), DenseConfig())
FLOOR = 7 + 2, 11 + 2


def moments(count: int, place: tuple[int, int] = (0, 0)) -> tuple[Grids, np.ndarray]:
    """Floors that are wall but for 3 × 3 cells of anything, and the cell in their midst."""
    rng, (down, right) = np.random.default_rng(0), place
    grids = [np.full((count, *FLOOR), fill, np.uint8) for fill in (Terrain.WALL, 0, 0)]
    for grid, most in zip(grids, (18, NUM_MARKINGS, NUM_OBJECTS), strict=True):
        grid[:, 3 + down : 6 + down, 4 + right : 7 + right] = rng.integers(0, most, (count, 3, 3))
    terrain, marking, objects = (grid.reshape(count, -1) for grid in grids)
    cells = np.full(count, (4 + down) * FLOOR[1] + 5 + right)
    power, opened = rng.integers(0, 2, count).astype(np.uint8), np.zeros((count, 2), bool)
    return Grids(terrain, marking, np.arange(count), opened, objects, power, FLOOR[1]), cells


def answers(config: LocalConfig, scale: float, **where) -> np.ndarray:
    """What a head says of such moments, its last layer enlarged."""
    head = make_head(NUM_OUTPUTS, config, jax.random.key(0))
    head.body.layers[-1].weight = jax.tree.map(lambda leaf: scale * leaf, head.body.layers[-1].weight)
    grids, cells = moments(50, **where)
    return np.asarray(head(view_of(config).inputs(grids, cells, np.arange(50) % 5)))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_an_untrained_head_says_that_nothing_happens(config):
    said = answers(config, 1.0)
    assert said.shape == (50, NUM_OUTPUTS)
    assert (said[:, 0] > said[:, 1:].max(1) + 3).all() and (said[:, 1:] < 0).all()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_only_dense_cares_where_things_are(config):
    here, there = (answers(config, 20.0, place=place) for place in ((0, 0), (1, 2)))
    assert np.std(here, axis=0).min() > 0.01, "what it sees makes a difference"
    alike = np.abs(here - there).max()
    assert alike > 0.1 if isinstance(config, DenseConfig) else alike < 1e-4


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_of_nothing_nothing_is_said(config):
    """As of the crates of levels that have none."""
    head, (grids, cells) = make_head(NUM_OUTPUTS, config, jax.random.key(0)), moments(1)
    inputs = view_of(config).inputs(grids, cells)
    assert head(inputs[:0]).shape == (0, NUM_OUTPUTS)


def test_a_floor_larger_than_the_frame_is_refused():
    grids, cells = moments(2)
    with pytest.raises(ValueError, match=r"^frame: expected floors of at most \(5, 9\), got \(7, 11\)$"):
        view_of(GridConfig(frame=(5, 9))).inputs(grids, cells)


@pytest.mark.parametrize("turns", range(1, 4))
def test_grid_sees_things_in_the_direction_of_the_action(turns):
    """Turn the floor, the markings on it and the action alike: nothing changes."""
    config, side, count = GridConfig(frame=(5, 5)), 7, 40
    rng, head = np.random.default_rng(0), make_head(NUM_OUTPUTS, config, jax.random.key(0))
    planes = [rng.integers(0, most, (count, side, side)) for most in (18, NUM_MARKINGS, NUM_OBJECTS)]
    row, column, action = *rng.integers(1, side - 1, (2, count)), rng.integers(1, NUM_ACTIONS, count)

    def said(planes, row, column, action):
        terrain, marking, objects = (plane.reshape(count, -1).astype(np.uint8) for plane in planes)
        opened, power = np.zeros((count, 2), bool), np.ones(count, np.uint8)
        grids = Grids(terrain, marking, np.arange(count), opened, objects, power, side)
        return np.asarray(head(view_of(config).inputs(grids, row * side + column, action)))

    turned = [np.rot90(plane, -turns, (1, 2)) for plane in planes]
    turned[1] = np.where(turned[1] > 0, (turned[1] - 1 + turns) % 4 + 1, 0)
    then = row, column
    for _ in range(turns):
        then = then[1], side - 1 - then[0]
    first = said(planes, row, column, action)
    np.testing.assert_allclose(first, said(turned, *then, (action - 1 + turns) % 4 + 1), atol=1e-4)
    assert np.abs(first - said(turned, *then, action)).max() > 0.01


def test_a_convolution_is_a_convolution():
    layer = Convolution(3, 4, key=jax.random.key(1))
    floor = jax.random.normal(jax.random.key(2), (2, 8, 7, 3))
    kernel = layer.weight[...].reshape(3, 3, 3, 4)
    expected = jax.lax.conv_general_dilated(floor, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(layer(floor), expected, atol=1e-5)
    assert jnp.abs(expected).max() > 0.1


def test_beyond_the_frame_of_a_trunk_there_is_wall():
    """A floor in a larger frame, ringed by walls, comes out as it does in its own."""
    trunk = Trunk(4, 5, 3, key=jax.random.key(1))
    (grids, cells), action = moments(20), np.arange(20) % NUM_ACTIONS
    own, larger = (Whole(frame) for frame in ((7, 11), (9, 12)))
    here, there = (trunk(view.inputs(grids, cells, action), view.shape) for view in (own, larger))
    there = there.reshape(20, *larger.shape, 5)[:, : own.shape[0], : own.shape[1]]
    np.testing.assert_allclose(here.reshape(20, *own.shape, 5), there, atol=1e-5)
    assert np.std(here, axis=1).max() > 0.1
