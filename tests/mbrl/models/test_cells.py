"""Every cell by itself: what is taught, what an untrained model says, and that movers double and vanish."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from envs.observation import LIGHT, OBJECT, TERRAIN
from envs.types import NUM_OBJECTS, SHUTTERS, Object
from mbrl.configs import CellsConfig, Lane
from mbrl.evaluation.playing import first_observations
from mbrl.experience import training_bank
from mbrl.metrics import read_rows
from mbrl.models.cells import CellModel, ImaginedCells, Said, digest_cells
from mbrl.models.imagination import imagine
from mbrl.models.views import Whole
from tests.mbrl.models.test_entities import fit

LEVEL = Path(envs.__file__).parent / "levels" / "shutdown.toml"
CONFIG = CellsConfig(hidden_size=16, embedding_size=8, num_channels=8, num_steps=200, batch_sizes=(32,))


@pytest.fixture(scope="module")
def digested(experience):
    part = jax.tree.map(lambda leaf: leaf[:6_000], experience.seen)
    return part, digest_cells(part, Whole(CONFIG.frame))["cells"]


def test_what_is_taught_is_what_is_seen_next(digested):
    seen, data = digested
    objects, bits = np.split(data.targets, [-4], axis=1)
    size = tuple(n + 2 for n in CONFIG.frame)
    codes = data.inputs[:, : size[0] * size[1]].reshape(-1, *size)[:, 1:-1, 1:-1]
    known = {}
    for obs, action, reward, after in zip(*seen, strict=True):
        shutters = [np.any((obs != after)[..., TERRAIN] & np.isin(obs[..., TERRAIN], (s, s + 1))) for s in SHUTTERS]
        key = obs[..., TERRAIN].tobytes() + obs[..., OBJECT].tobytes() + bytes([action]) + after[..., OBJECT].tobytes()
        known[key + bytes([obs[0, 0, LIGHT]])] = [*shutters, (obs != after)[0, 0, LIGHT], reward > 0]
    assert data.count.sum() == len(seen.action) > len(data.count)
    for code, inputs, after, told in zip(codes, data.inputs, objects, bits, strict=True):
        height, width = seen.obs.shape[1:3]
        terrain, now = (part.astype(np.uint8)[:height, :width] for part in (code // 65, code % NUM_OBJECTS))
        later = after.reshape(size)[1:-1, 1:-1][:height, :width]
        key = terrain.tobytes() + now.tobytes() + bytes([inputs[-2]]) + later.tobytes() + bytes([inputs[-1]])
        np.testing.assert_array_equal(told, known[key])
    assert bits.any(0).sum() >= 3


@pytest.mark.slow
def test_an_untrained_model_says_that_nothing_happens_and_one_that_learns_says_better(digested, tmp_path):
    _, data = digested
    said = CellModel(CONFIG, key=jax.random.key(0)).say(jnp.asarray(data.inputs[:100]))
    now = data.inputs[:100, : said.objects.shape[1]] % NUM_OBJECTS
    np.testing.assert_array_equal(said.objects.argmax(-1), now)
    assert (said.bits < 0).all()
    fit(CONFIG, [Lane(3, 2e-3, 0.99)], [{"cells": data}], 1, tmp_path)
    losses = [row["loss"] for row in read_rows((tmp_path / "metrics.jsonl").read_bytes())]
    assert losses[-1] < 0.7 * losses[0], losses


@struct.dataclass
class Coin:
    """Says of every cell with an operator, and of the next to the right, that he is there with probability ½."""

    view = Whole(CONFIG.frame)

    def say(self, inputs):
        codes = inputs[:, : self.view.shape[0] * self.view.shape[1]].astype(jnp.int32)
        here = codes % NUM_OBJECTS == Object.OPERATOR
        maybe = here | jnp.roll(here, 1, axis=1)
        sure = 50.0 * jax.nn.one_hot(codes % NUM_OBJECTS, NUM_OBJECTS)
        either = 50.0 * (jax.nn.one_hot(0, NUM_OBJECTS) + jax.nn.one_hot(Object.OPERATOR, NUM_OBJECTS))
        return Said(jnp.where(maybe[..., None], either, sure), jnp.array([[50.0, -50.0, 50.0, 0.0]] * len(inputs)))


def test_movers_double_and_vanish_and_the_rest_is_drawn_as_said():
    bank = training_bank([envs.load_level(LEVEL)])
    obs = first_observations(bank)[0]
    seen, reward = imagine(ImaginedCells(Coin()), obs[None], np.zeros((1, 1), int), 2000, jax.random.key(0))
    number = (np.asarray(seen)[0, 0, ..., OBJECT] == Object.OPERATOR).sum((1, 2))
    np.testing.assert_allclose(np.bincount(number, minlength=3) / 2000, [0.25, 0.5, 0.25], atol=0.05)
    shutter = np.isin(obs[..., TERRAIN], (SHUTTERS[0], SHUTTERS[0] + 1))
    assert (np.asarray(seen)[0, 0][:, shutter, TERRAIN] != obs[shutter, TERRAIN]).all()
    np.testing.assert_array_equal(
        np.asarray(seen)[0, 0][:, ~shutter, TERRAIN], np.tile(obs[~shutter, TERRAIN], (2000, 1))
    )
    assert (np.asarray(seen)[..., LIGHT] == 1 - obs[0, 0, LIGHT]).all() and (np.asarray(reward) == 0.5).all()
