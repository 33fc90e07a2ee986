"""Milestones: what was put aside is found again after a restart, group by group, or not at all."""

import numpy as np

from mbrl.milestones import Milestones


def model(*values: float) -> dict:
    return {"weights": np.array([[value] for value in values])}


def pass_by(milestones: Milestones, updates) -> None:
    for update in updates:
        milestones.pass_by(0, update, lambda update=update: model(update, update + 0.1))
        milestones.pass_by(1, update, lambda update=update: model(update + 0.2))


def test_groups_are_joined_in_their_order_whatever_stopped_in_between(tmp_path):
    pass_by(Milestones([4, 0, 4], tmp_path), (0, 2))
    again = Milestones([0, 4], tmp_path)
    pass_by(again, (4, 6))
    found = again.found(2)
    assert list(found) == [0, 4]
    for update, arrays in found.items():
        (values,) = arrays.values()
        np.testing.assert_allclose(values[:, 0], [update, update + 0.1, update + 0.2])


def test_a_milestone_of_which_a_group_is_missing_or_damaged_is_left_out(tmp_path):
    milestones = Milestones([0, 4], tmp_path)
    pass_by(milestones, (0, 4))
    place = tmp_path / "milestone-4-1.safetensors"
    place.write_bytes(place.read_bytes()[:-1] + b"?")
    assert list(milestones.found(2)) == [0]


def test_who_does_not_lead_writes_nothing(tmp_path):
    follower = Milestones([0], tmp_path, is_leader=False)
    pass_by(follower, (0,))
    assert not list(tmp_path.iterdir()) and follower.found(2) == {}
