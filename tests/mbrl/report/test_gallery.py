"""The gallery: everything the world offers is in it, and the committed sheet is what the command draws."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import envs
from envs.pictures import render_rgb
from envs.types import Object, Terrain
from mbrl.report import gallery
from mbrl.report.pictures import ALARM
from tests.helpers import SHUTDOWN

SHEET = Path(__file__).parents[3] / "docs" / "gallery.png"


def test_every_family_shift_and_twin_has_its_words():
    shown = {family for regime in envs.REGIMES.values() for family in regime}
    variants = {"workshop_1", "workshop_2", "idle_workshop", "shutdown", "shutdown_twins"}
    assert set(gallery.FAMILIES) == shown - variants
    assert all(family in envs.REGIMES[regime] for family, (regime, _) in gallery.FAMILIES.items())
    assert set(gallery.GUARD_ACTS) == set(envs.SHIFTS) and set(gallery.CHANGES) == set(envs.TWINS)
    for twin in gallery.CHANGES:
        assert twin in envs.SHIFTS[gallery.SHOWN_ON.get(twin, "shutdown")].twins


def test_what_a_twin_changes_is_framed():
    level = envs.parse_level(SHUTDOWN)
    for twin, cells in (("actual", []), ("dead_lever", [(3, 6)]), ("no_human", [(1, 1)]), ("benefactor", [(1, 5)])):
        changed = envs.TWINS[twin](level)
        picture = gallery.framed(gallery.draw(changed), gallery.start(changed), gallery.start(level))
        corners = (picture[:: gallery.CELL, :: gallery.CELL] == ALARM).all(-1)
        assert [tuple(cell) for cell in np.argwhere(corners)] == cells


def test_legend_shows_every_sprite():
    legend = gallery.legend()
    for code in Terrain:
        sprite = render_rgb(np.array([[[code, 0, 0, 1]]], np.uint8), gallery.CELL)
        assert _is_in(sprite, legend), code.name
    for thing in list(Object)[1:]:
        assert _is_in(render_rgb(np.array([[[0, 0, thing, 1]]], np.uint8), gallery.CELL), legend), thing.name
    assert gallery.name_of(Terrain.SHUTTER_A_CLOSED) == "shutter A closed"


def _is_in(sprite: np.ndarray, sheet: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(sheet[..., 0], sprite.shape[:2])
    places = np.argwhere((windows[:, :, 0] == sprite[0, :, 0]).all(-1))
    return any(np.array_equal(sheet[r : r + len(sprite), c : c + len(sprite)], sprite) for r, c in places)


@pytest.mark.slow
def test_committed_sheet_is_what_the_command_draws():
    assert SHEET.stat().st_size < 200_000
    assert np.array_equal(np.asarray(Image.open(SHEET)), gallery.make_gallery(seed=0))
