"""What a twin does to play, whatever is played.

    something dead or walled  the game of `actual` in which nobody touches it
    masked                    the game of `dead_lever` while a person is there, otherwise the same game
    any other twin            the game of `actual` until the change can matter

All are exact, over random play on candidates for deployment of every shift.
"""

from functools import cache

import jax
import numpy as np
import pytest

from envs.battery import SHIFTS
from envs.levels import stack_levels
from envs.twins import TWINS
from envs.types import LEVERS, NOWHERE, PERSONS, SHUTTERS, EnvState, Level, Terrain
from tests.envs.floors import drawn_levels
from tests.envs.random_play import play, play_freely, random_play
from tests.helpers import differences

NUM_LEVELS, REPEATS = 12, 16
LARGEST = (13, 17, 1, 2)
DEVICES = (Terrain.BREAKER, Terrain.OFF_SWITCH)

# Twins that make something dead or put a wall there, by what becomes of what.
DEAD = {
    "dead_breaker": {(Terrain.BREAKER, Terrain.DEAD_BREAKER)},
    "dead_off_switch": {(Terrain.OFF_SWITCH, Terrain.DEAD_OFF_SWITCH)},
    "dead_lever": {(lever, Terrain.DEAD_LEVER) for lever in LEVERS},
    "dead_spare": {(Terrain.BREAKER, Terrain.DEAD_BREAKER)},
    "dead_button": {(Terrain.TEST_BUTTON, Terrain.DEAD_BUTTON)},
    "empty_feeder": {(Terrain.FEEDER, Terrain.EMPTY_FEEDER)},
    "walled_off": {(Terrain.FLOOR, Terrain.WALL)},
}
PAIRS = [(shift, twin) for shift, about in SHIFTS.items() for twin in about.twins if twin != "actual"]


@cache
def bank_of(shift: str, twin: str) -> Level:
    return stack_levels([TWINS[twin](level) for level in drawn_levels(shift, NUM_LEVELS)] * REPEATS, LARGEST)


@cache
def game_of(shift: str, twin: str) -> tuple[EnvState, np.ndarray]:
    return play_freely(bank_of(shift, twin), *random_play(NUM_LEVELS * REPEATS, 2, seed=1))


def differing(one: EnvState, other: EnvState, *ignored: str) -> np.ndarray:
    """Tell in which ticks of which episodes two plays left states that differ in other fields than those ignored."""
    ticks = one.time.shape
    fields = [name for name in EnvState.__dataclass_fields__ if name not in ignored]
    parts = [(getattr(one, name) != getattr(other, name)).reshape(*ticks, -1).any(-1) for name in fields]
    return np.any(parts, axis=0)[:, 1:]


@pytest.mark.parametrize(("shift", "twin"), [pair for pair in PAIRS if pair[1] in DEAD])
def test_what_is_dead_or_walled_is_what_nobody_touches(shift, twin):
    bank, other = bank_of(shift, "actual"), bank_of(shift, twin)
    changed = bank.terrain != other.terrain
    assert changed.any((1, 2)).all()
    assert set(zip(bank.terrain[changed].tolist(), other.terrain[changed].tolist(), strict=True)) <= DEAD[twin]
    moves = random_play(len(bank.robot), 2, seed=1)
    expected, guard = jax.device_get(play(bank, *moves, changed, changed & np.isin(bank.terrain, DEVICES)))
    got, got_guard = game_of(shift, twin)
    assert differences(expected, got) == {}
    np.testing.assert_array_equal(guard, got_guard)
    assert differences(game_of(shift, "actual")[0], got), "untouched or not is not the same"


@pytest.mark.parametrize("shift", [shift for shift, twin in PAIRS if twin == "visitor"])
def test_a_visitor_is_an_operator_who_touches_nothing(shift):
    bank = bank_of(shift, "actual")
    devices = np.isin(bank.terrain, DEVICES)
    moves = random_play(len(bank.robot), 2, seed=1)
    expected, guard = jax.device_get(play(bank, *moves, np.zeros_like(devices), devices))
    got, got_guard = game_of(shift, "visitor")
    assert differences(expected, got) == {}
    np.testing.assert_array_equal(guard, got_guard)
    assert game_of(shift, "actual")[0].spent.any() and not got.spent.any()


@pytest.mark.parametrize("shift", [shift for shift, twin in PAIRS if twin == "dead_lever"])
def test_behind_a_mask_levers_are_dead_while_a_person_is_there(shift):
    moves, masked = random_play(NUM_LEVELS * REPEATS, 2, seed=1), np.ones(NUM_LEVELS * REPEATS, bool)
    for twin in ("actual", "visitor", "no_human"):
        bank, dead = bank_of(shift, twin), bank_of(shift, "dead_lever").terrain
        expected, _ = play_freely(bank if twin == "no_human" else bank.replace(terrain=dead), *moves)
        got, guard = play_freely(bank.replace(masked=masked), *moves)
        assert differences(expected, got) == {}, twin
        assert guard.any(), "what is intended still counts as a guard act"


def what_happens(shift: str, twin: str = "actual") -> dict[str, np.ndarray]:
    """Say of every tick of play on a shift's levels what was about to happen in it, `[levels, time]`."""
    bank, (states, _) = bank_of(shift, twin), game_of(shift, twin)
    actions, _ = random_play(len(bank.robot), 2, seed=1)
    before = jax.tree.map(lambda leaf: leaf[:, :-1], states)
    steps = np.array([0, -bank.width, 1, bank.width, -1])
    terrain, marking = (grid.reshape(len(grid), -1) for grid in (bank.terrain, bank.marking))
    at = lambda grid, cells: np.take_along_axis(grid, cells.reshape(len(grid), -1), 1).reshape(cells.shape)  # noqa: E731
    target = before.robot + steps[actions]
    beyond = target + steps[actions] * (before.crates == target[..., None]).any(-1)
    bumped = np.where(actions > 0, at(terrain, target), Terrain.WALL)
    persons = np.where(np.isin(bank.kinds, PERSONS)[:, None], before.movers, -1)
    ahead = before.movers + steps[at(marking, before.movers)]
    faced = np.where(before.spent, Terrain.WALL, at(terrain, ahead))
    on_shutter = np.isin(at(terrain, before.movers), SHUTTERS).any(-1)
    closed = states.closed[:, 1:, None]  # Whoever walks meets what the robot left in this tick.
    shut = ((faced[..., None] == np.array(SHUTTERS)) & closed).any((2, 3))
    return {
        "meets": (persons == target[..., None]).any(-1) | (persons == beyond[..., None]).any(-1),
        "uses": (np.diff(states.spent.astype(int), axis=1) > 0).any(-1),
        "lever held": np.isin(bumped, LEVERS) & on_shutter,
        "faces a shutter": np.isin(faced, SHUTTERS).any(-1),
        "faces a closed shutter": shut,
        "brings wire": (bumped == Terrain.PRESS) & before.carrying & ~before.disabled,
    }


# Other twins: than what they are the same, until what happens in that, and what else differs until then.
UNTIL = {
    "no_human": ("actual", {"meets", "uses", "lever held"}, {"movers"}),
    "off_route": ("actual", {"faces a closed shutter", "lever held"}, set()),
    "already_closed": ("actual", {"faces a shutter"}, {"closed"}),
    "benefactor": ("already_closed", {"brings wire"}, {"power"}),
}


@pytest.mark.parametrize(("shift", "twin"), [pair for pair in PAIRS if pair[1] in UNTIL])
def test_other_twins_are_the_same_until_the_change_can_matter(shift, twin):
    original, reasons, apart = UNTIL[twin]
    happens = what_happens(shift, original)
    early = np.cumsum(sum(happens[reason] for reason in reasons), axis=1) == 0
    (states, guard), (got, got_guard) = game_of(shift, original), game_of(shift, twin)
    differs = differing(states, got, *apart)
    assert not (differs & early).any() and not ((guard != got_guard) & early).any()
    far = shift == "price"  # Nobody comes to its lever by chance.
    assert far or (differs & ~early).any(), "it matters at last"
    bank = bank_of(shift, "actual")
    match twin:
        case "no_human":
            assert (np.where(np.isin(bank.kinds, PERSONS)[:, None], got.movers, NOWHERE) == NOWHERE).all()
        case "already_closed":
            on_route = np.stack([((bank.terrain == shutter) & bank.route).any((1, 2)) for shutter in SHUTTERS], -1)
            assert on_route.any(-1).all()
            flipped = (states.closed ^ got.closed == on_route[:, None]).all(-1)[:, 1:]
            assert flipped[early].all()
        case "benefactor":
            assert (states.power ^ got.power)[:, 1:][early].all()


def test_every_twin_has_its_relation():
    assert {"actual", "visitor", *DEAD, *UNTIL} == set(TWINS) == {"actual"} | {twin for _, twin in PAIRS}
