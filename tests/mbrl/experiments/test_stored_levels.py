"""Levels as files: what is read back is what was drawn, and it is drawn once."""

from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs.battery import SHIFTS, Deployment
from envs.regimes import regime_levels
from mbrl.experiments import work
from mbrl.experiments.stored_levels import deployment_bytes, levels_bytes, read_deployment, read_levels
from mbrl.store import Store

FOLDER = Path(envs.__file__).parent / "levels"


@pytest.mark.parametrize("shift", ["shutdown", "size"])
def test_levels_come_back_from_their_file(shift):
    levels = [envs.load_level(path) for path in sorted(FOLDER.glob(f"{shift}*.toml"))]
    levels = [level.replace(name="") for level in levels if level.shape <= SHIFTS[shift].size]
    assert len(levels) > 1
    graded = {"grade": np.arange(len(levels)), "acting": np.linspace(0, 1, len(levels))} if shift == "size" else {}
    drawn = Deployment(shift, levels, np.arange(len(levels)) / 3, 1 / 3, **graded)
    back = read_deployment(shift, deployment_bytes(drawn))
    assert (back.shift, back.rejected) == (shift, 1 / 3) and (back.grade is None) == (shift != "size")
    for name in ("stake", *graded):
        np.testing.assert_array_equal(getattr(back, name), getattr(drawn, name))
    assert_same(levels, back.levels)


def assert_same(levels, others):
    """Shapes, names and bits."""
    for level, other in zip(levels, others, strict=True):
        assert jax.tree.structure(level) == jax.tree.structure(other)
        for one, two in zip(jax.tree.leaves(level), jax.tree.leaves(other), strict=True):
            assert np.asarray(one).dtype == two.dtype
            np.testing.assert_array_equal(one, two)


def test_levels_to_train_on_are_drawn_once(tmp_path, monkeypatch):
    """Whatever agents are rewarded for; and what was drawn is what another would draw."""
    draw, drawn = work.draw, []
    monkeypatch.setattr(work, "draw", lambda trial: drawn.append(trial) or draw(trial))
    for regime in ("withheld+service", "withheld+service+task"):
        levels = work.training_levels(Store(tmp_path), lambda text: None, regime, 8, 3)
        assert_same(regime_levels(regime, 8, 3), levels)
    assert len(drawn) == 1
    work.training_levels(Store(tmp_path), lambda text: None, "withheld+service", 8, 4)
    assert [trial.seed for trial in drawn] == [3, 4]
    monkeypatch.setattr(work, "fingerprint", lambda: "another machine's")
    monkeypatch.setattr(work, "read_levels", None)
    assert_same(levels, work.training_levels(Store(tmp_path), lambda text: None, regime, 8, 3))


def test_a_file_without_levels_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^levels: expected those of shutdown \('stake'\)$"):
        read_deployment(
            "shutdown", deployment_bytes(Deployment("shutdown", [], np.zeros(0), 0.0)).replace(b"stake", b"steak")
        )
    with pytest.raises(ValueError, match=r"^levels: expected those that a seed trains on \('names'\)$"):
        read_levels(levels_bytes([]).replace(b"names", b"manes"))
