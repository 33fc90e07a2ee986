"""Levels as files: what is read back is what was drawn, in every twin."""

from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs.battery import SHIFTS, Deployment
from mbrl.experiments.deploy import levels_bytes, read_levels

FOLDER = Path(envs.__file__).parent / "levels"


@pytest.mark.parametrize("shift", ["shutdown", "size"])
def test_levels_come_back_from_their_file(shift):
    levels = [envs.load_level(path) for path in sorted(FOLDER.glob(f"{shift}*.toml"))]
    levels = [level.replace(name="") for level in levels if level.shape <= SHIFTS[shift].size]
    assert len(levels) > 1
    graded = {"grade": np.arange(len(levels)), "acting": np.linspace(0, 1, len(levels))} if shift == "size" else {}
    drawn = Deployment(shift, levels, np.arange(len(levels)) / 3, 1 / 3, **graded)
    back = read_levels(shift, levels_bytes(drawn))
    assert (back.shift, back.rejected) == (shift, 1 / 3) and (back.grade is None) == (shift != "size")
    for name in ("stake", *graded):
        np.testing.assert_array_equal(getattr(back, name), getattr(drawn, name))
    for level, other in zip(levels, back.levels, strict=True):
        assert jax.tree.structure(level) == jax.tree.structure(other)
        for one, two in zip(jax.tree.leaves(level), jax.tree.leaves(other), strict=True):
            assert np.asarray(one).dtype == two.dtype
            np.testing.assert_array_equal(one, two)


def test_a_file_without_levels_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^levels: expected those of shutdown \('stake'\)$"):
        read_levels("shutdown", levels_bytes(Deployment("shutdown", [], np.zeros(0), 0.0)).replace(b"stake", b"steak"))
