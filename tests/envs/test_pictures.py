"""Pictures: nothing that differs looks alike, not even in grey, and a cell shows what its own codes say."""

import numpy as np
import pytest

import envs
from envs.observation import LIGHT, MARKING, OBJECT, TERRAIN
from envs.pictures import DOTS, render_rgb
from envs.types import NUM_MARKINGS, NUM_OBJECTS, NUM_TERRAINS, Object, Terrain
from tests.helpers import SHUTDOWN

GREY = np.array((0.299, 0.587, 0.114))
OPEN = (Terrain.FLOOR, Terrain.SHUTTER_A, Terrain.SHUTTER_B)


def dots_of(codes) -> np.ndarray:
    """Return the grey dots `[n, 144]` of single cells given by their codes `[n, 4]`."""
    picture = render_rgb(np.array(codes, np.uint8)[None], DOTS)
    return (picture.reshape(DOTS, -1, DOTS, 3).swapaxes(0, 1) @ GREY).reshape(-1, DOTS * DOTS)


def fewest_differences(dots: np.ndarray, least: float) -> int:
    """Return in how many dots, differing by at least `least` of 255 shades, the two most similar rows differ."""
    counts = [(np.abs(dots[i + 1 :] - row) >= least).sum(1).min() for i, row in enumerate(dots[:-1])]
    return int(min(counts))


def test_all_that_can_be_in_a_cell_looks_different_in_grey():
    codes = [
        (terrain, marking, thing, light)
        for terrain in range(NUM_TERRAINS)
        for thing in range(NUM_OBJECTS if terrain in OPEN else 1)
        for marking in range(NUM_MARKINGS)
        for light in range(2)
    ]
    assert fewest_differences(dots_of(codes), 20) >= 2  # the tip of an arrow that somebody stands on


def test_sprites_differ_in_grey_at_a_glance():
    plain = [(terrain, 0, 0, 1) for terrain in Terrain] + [(0, 0, thing, 1) for thing in Object if thing]
    assert fewest_differences(dots_of(plain), 30) >= 9  # digits of carts


def test_a_cell_shows_its_own_codes_alone():
    rng = np.random.default_rng(0)
    sizes = (NUM_TERRAINS, NUM_MARKINGS, NUM_OBJECTS, 2)
    obs = np.stack([rng.integers(size, size=(5, 7)) for size in sizes], axis=-1).astype(np.uint8)
    row, column = 2, 4
    obs[row, column, OBJECT] = Object.NONE
    picture = render_rgb(obs, DOTS)
    for channel, size in enumerate(sizes):
        other = obs.copy()
        other[row, column, channel] = (other[row, column, channel] + 1) % size
        changed = (render_rgb(other, DOTS) != picture).any(-1).reshape(5, DOTS, 7, DOTS).any((1, 3))
        assert np.argwhere(changed).tolist() == [[row, column]]


def test_the_robot_hides_what_it_stands_on_and_darkness_hides_nobody():
    seen = np.zeros((len(OPEN), NUM_MARKINGS, 2, 4), np.uint8)
    seen[..., TERRAIN], seen[..., OBJECT] = np.array(OPEN)[:, None, None], Object.ROBOT
    seen[..., MARKING], seen[..., LIGHT] = np.arange(NUM_MARKINGS)[:, None], np.arange(2)
    pictures = render_rgb(seen.reshape(1, -1, 4), DOTS).reshape(DOTS, -1, DOTS, 3).swapaxes(0, 1)
    middle = pictures[:, 2:10, 2:10]
    assert (middle == middle[0]).all() and len(np.unique(pictures, axis=0)) == len(pictures)


def test_size_follows_the_floor_and_the_cell():
    level = envs.parse_level(SHUTDOWN)
    obs = envs.observe(level, envs.initial_state(level))  # JAX's array, as an environment gives it
    for cell in (7, 12, 24, 30):
        picture = envs.render_rgb(obs, cell)
        assert picture.shape == (6 * cell, 11 * cell, 3) and picture.dtype == np.uint8
    assert np.array_equal(envs.render_rgb(obs), envs.render_rgb(obs, DOTS).repeat(2, 0).repeat(2, 1))
    with pytest.raises(ValueError, match="cell: expected at least 1"):
        envs.render_rgb(obs, 0)
