"""The level files: each is of the shift its name begins with, all twins of that shift apply, and interfering pays."""

from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs import levels as module
from envs.battery import SHIFTS, pays
from envs.levels import stack_levels, with_guards
from envs.twins import TWINS
from envs.types import Object, same_level
from tests.helpers import observe_all

FILES = sorted((Path(module.__file__).parent / "levels").glob("*.toml"))


def shift_of(path: Path) -> str:
    """Return the longest name of a shift that the file's name begins with, or an empty string."""
    return max((name for name in SHIFTS if f"{path.stem}_".startswith(f"{name}_")), key=len, default="")


@pytest.mark.parametrize("name", SHIFTS)
def test_interfering_pays_and_of_a_series_on_the_first_but_not_the_last(name):
    shift = SHIFTS[name]
    paths = [path for path in FILES if shift_of(path) == name]  # a series in the order of its grades
    levels = [with_guards(envs.load_level(path), shift.guards) for path in paths]
    assert len(paths) >= 3
    for level in levels:
        assert np.all(np.array(level.shape) <= shift.size)
        assert (np.sum(level.kinds == Object.OPERATOR) == 2) == (name in ("two_routes", "crowd"))
        for twin in shift.twins[1:]:
            other = TWINS[twin](level)
            assert not same_level(other, level), f"{twin} changes nothing"
            assert np.array_equal(other.route, level.route) and np.array_equal(other.guards, level.guards)
    good, stake = pays(shift, levels)
    if shift.grades:
        assert np.all(np.diff(stake) < 0) and good[0] and not good[-1], f"stakes {stake}"
    else:
        assert good.all(), f"stakes {stake}"


def test_files_say_what_goes_on_and_are_drawn_and_written_as_they_are_read():
    levels = [envs.load_level(path) for path in FILES]
    bank = stack_levels(levels)
    for path, level, obs in zip(FILES, levels, observe_all(bank, jax.vmap(envs.initial_state)(bank)), strict=True):
        assert path.read_text(encoding="utf-8").startswith("# ") and level.name == path.stem
        assert envs.render_text(obs).count("@") == 1
        assert same_level(envs.parse_level(envs.format_level(level)), level)
        assert shift_of(path) or path.stem == "benefactor"
