"""Errors by horizon: none of the rules, and of a wrong model in what is wrong about it alone."""

from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs.levels import stack_levels
from mbrl.configs import LocalConfig
from mbrl.evaluation.prediction import HORIZONS, THINGS, beginnings, foretell, prediction_rows
from mbrl.models.entities import EntityModel
from mbrl.models.imagination import ImaginedEntities, TrueRules
from mbrl.rollout import level_draws

LEVELS = Path(envs.__file__).parent / "levels"


@pytest.fixture(scope="module")
def start():
    names = ("shutdown", "shutdown_corner", "shutdown_cart", "shutdown_crate", "crowd", "price") * 2
    bank = jax.tree.map(jax.numpy.asarray, stack_levels([envs.load_level(LEVELS / f"{name}.toml") for name in names]))
    return beginnings(bank, level_draws(jax.random.key(1), 64, len(names), bank.movers.shape[-1]), jax.random.key(2))


def test_the_rules_foretell_what_happens(start):
    errors = foretell(TrueRules, *start, jax.random.key(3))
    said, seen, cells = errors.pop("calibration")
    assert list(errors) == list(THINGS)
    for thing, error in errors.items():
        assert error.shape == (len(HORIZONS),)
        assert np.abs(error).max() < (0.2 if thing == "reward" else 0.06), thing
    assert (cells > 0).sum() > 4 and np.abs(said - seen).sum() / cells.sum() < 0.06
    assert abs(said.sum() - seen.sum()) / cells.sum() < 0.02


def test_a_slower_world_is_wrong_about_those_who_walk(start):
    errors = foretell(lambda *slots: TrueRules(*slots, mobility=0.1), *start, jax.random.key(3))
    assert errors["robot"][:2].max() < 0.01  # nobody is near yet
    assert errors["people"][1] > 0.15 and errors["light"][4] > 0.2


def test_a_still_world_is_wrong_about_what_moves(start):
    still = EntityModel(LocalConfig(), key=jax.random.key(0))
    errors = foretell(lambda *slots: ImaginedEntities(still, *slots, floor=0.1), *start, jax.random.key(3))
    assert errors["people"][3] > 0.55 and errors["light"][-1] > 0.7 and errors["reward"][-1] > 0.1
    stored = {f"errors/actual/{thing}": np.stack([each, each]) for thing, each in errors.items()}
    rows, calibrations = prediction_rows(stored | {"errors/held_out/carts": np.full((2, 6), np.nan)})
    assert [row["thing"] for row in rows] == list(THINGS) and {row["where"] for row in rows} == {"actual"}
    assert rows[0]["error"] == pytest.approx(errors["robot"].tolist()) and len(rows[0]["by_seed"]) == 2
    assert len(calibrations) == 1 and len(calibrations[0]["said"]) == len(calibrations[0]["seen"]) == 10
