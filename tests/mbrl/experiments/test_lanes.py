"""Lanes that failed: those of whom somebody asks count as the asker's own."""

from mbrl.experiments.work import failed_in_either, finite_lanes
from mbrl.store import json_bytes


def lanes(*steps: int | None) -> bytes:
    return json_bytes([{"seed": i, "first_bad_step": step} for i, step in enumerate(steps)])


def test_a_lane_is_finite_where_neither_failed():
    assert finite_lanes(lanes(None, 3, None)) == [0, 2]
    assert failed_in_either(lanes(None, 3, None, None), lanes(None, 5, 7, None)) == lanes(None, 3, 7, None)
