"""Metamorphic relations: what a change of the level must do to play, whatever is played.

    turned and mirrored       the same game, actions permuted alike
    carts repainted           the same game
    a crate walled in         the same game
    episodes cut later        the same beginning
    something dead or walled  the game of `actual` in which nobody touches it
    masked                    the game of `dead_lever` while a person is there, otherwise the same game
    any other twin            the game of `actual` until the change can matter

All are exact, over random play on candidates for deployment of every shift and on levels of the training families.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import rules
from envs.battery import SHIFTS
from envs.layouts import symmetries
from envs.levels import stack_levels, with_guards
from envs.twins import TWINS
from envs.types import (
    CARTS,
    LEVERS,
    NOWHERE,
    PERSONS,
    SHUTTERS,
    EnvState,
    Level,
    Object,
    Terrain,
    initial_state,
    same_level,
)
from tests.envs.floors import TRAINING_FAMILIES, drawn_levels
from tests.helpers import differences, observe_all

NUM_LEVELS, REPEATS, NUM_TICKS = 12, 16, 64
SIDE = 19  # of the square that holds every level with a margin of wall
LARGEST = (13, 17, 1, 2)
DEVICES = (Terrain.BREAKER, Terrain.OFF_SWITCH)


def random_play(count: int, num_movers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw actions `[count, time]`, half of which repeat the one before, so that the robot gets about, and draws."""
    rng = np.random.default_rng(seed)
    actions = rng.integers(0, 5, (count, NUM_TICKS))
    chosen = np.where(rng.random(actions.shape) < 0.5, np.arange(NUM_TICKS), 0)
    actions = np.take_along_axis(actions, np.maximum.accumulate(chosen, axis=1), axis=1)
    return actions, rng.random((count, NUM_TICKS, num_movers), np.float32)


@jax.jit
def play(bank, actions, draws, avoided, barred) -> tuple[EnvState, jax.Array]:
    """Play on a bank; return the states `[levels, time + 1]` and whether each intended action was a guard act.

    Where the robot, or a crate it would push, would touch an `avoided` cell, the robot does nothing; a mover whose way
    leads into a `barred` cell waits.
    """

    def episode(level, actions, draws, avoided, barred):
        steps = jnp.array([0, -level.width, 1, level.width, -1])

        def tick(state, inputs):
            action, draw = inputs
            guard = rules.is_guard_act(level, state, action)
            target = state.robot + steps[action]
            pushed = jnp.any(state.crates == target) & avoided[target + steps[action]]
            executed = jnp.where(avoided[target] | pushed, 0, action)
            draw = jnp.where(barred[state.movers + steps[level.marking.reshape(-1)[state.movers]]], 1.0, draw)
            new = rules.transition(level, state, executed, draw, 0.6)
            return new, (new, guard)

        begun = initial_state(level)
        _, (states, guard) = jax.lax.scan(tick, begun, (actions, draws))
        return jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), begun, states), guard

    flat = (mask.reshape(len(mask), -1) for mask in (avoided, barred))
    return jax.vmap(episode)(jax.tree.map(jnp.asarray, bank), actions, draws, *flat)


def play_freely(bank: Level, actions: np.ndarray, draws: np.ndarray) -> tuple[EnvState, np.ndarray]:
    nothing = np.zeros(bank.terrain.shape, bool)
    return jax.device_get(play(bank, actions, draws, nothing, nothing))


@cache
def all_levels() -> tuple[Level, ...]:
    """Levels of all shifts and training families, each as often as it is played."""
    names = (*SHIFTS, *TRAINING_FAMILIES)
    return tuple(level for name in names for level in drawn_levels(name, NUM_LEVELS)) * 8


@cache
def square_game() -> tuple[Level, np.ndarray, np.ndarray, EnvState, np.ndarray]:
    """Return all levels as a bank of squares with what is played there: actions, draws, states and guard acts."""
    bank = stack_levels(all_levels(), (SIDE, SIDE, 1, 2))
    actions, draws = random_play(len(bank.robot), 2)
    states, guard = play_freely(bank, actions, draws)
    assert min(states.clips.sum(), guard.sum(), states.spent.sum(), states.counter.sum() - states.clips.sum()) > 50
    assert min(np.count_nonzero(np.diff(part, axis=1)) for part in (states.closed, states.crates, states.movers)) > 50
    return bank, actions, draws, states, guard


def turned(bank: Level, mirrored: bool, quarters: int) -> tuple[Level, np.ndarray, np.ndarray]:
    """Turn a bank of squares to the left, perhaps mirrored before; return also every cell's new number and action."""

    def turn(grid):
        return np.rot90(grid[..., ::-1] if mirrored else grid, quarters, (-2, -1))

    numbers = np.arange(bank.width**2).reshape(bank.width, -1)
    cells = np.empty(numbers.size, np.int32)
    cells[turn(numbers).reshape(-1)] = numbers.reshape(-1)
    cells[NOWHERE] = NOWHERE
    codes = np.array([0, 1, 4, 3, 2] if mirrored else [0, 1, 2, 3, 4])
    for _ in range(quarters):
        codes = np.array([0, 4, 1, 2, 3])[codes]  # Up becomes left, right up, down right, left down.
    grids = {name: turn(getattr(bank, name)) for name in ("terrain", "marking", "route", "guards")}
    grids["marking"] = codes.astype(np.uint8)[grids["marking"]]
    places = {name: cells[getattr(bank, name)] for name in ("robot", "crates", "movers")}
    return bank.replace(**grids, **places), cells, codes


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_level_is_the_same_game(mirrored, quarters):
    bank, actions, draws, states, guard = square_game()
    copy, cells, codes = turned(bank, mirrored, quarters)
    got, got_guard = play_freely(copy, codes[actions], draws)
    expected = states.replace(**{name: cells[getattr(states, name)] for name in ("robot", "crates", "movers")})
    assert differences(expected, got) == {}
    np.testing.assert_array_equal(guard, got_guard)
    last = [jax.tree.map(lambda leaf: leaf[:, -1], part) for part in (states, got)]
    seen, turned_seen = observe_all(bank, last[0]), observe_all(copy, last[1])
    seen = np.rot90(seen[:, :, ::-1] if mirrored else seen, quarters, (1, 2)).copy()
    seen[..., 1] = codes[seen[..., 1]]
    np.testing.assert_array_equal(seen, turned_seen)


def test_symmetries_are_the_eight_copies_and_what_counts_as_interference_turns_with_them():
    for name in (*SHIFTS, *TRAINING_FAMILIES):
        bank = stack_levels(drawn_levels(name, 1), (SIDE, SIDE, 1, 2))
        copies = [turned(bank, mirrored, quarters)[0] for mirrored in (False, True) for quarters in range(4)]
        ours = [jax.tree.map(lambda leaf: leaf[0], copy) for copy in copies]
        theirs = symmetries(ours[0])
        assert all(sum(same_level(one, other) for other in theirs) == 1 for one in ours)
        if name in SHIFTS:
            assert all(same_level(with_guards(one, SHIFTS[name].guards), one) for one in ours)


def test_a_carts_livery_means_nothing():
    """Whoever walks here is painted as a cart, so that carts come to everything that stands at the end of a way."""
    bank, actions, draws, *_ = square_game()
    there = bank.kinds != Object.NONE
    painted = [bank.replace(kinds=np.where(there, livery, bank.kinds).astype(np.uint8)) for livery in CARTS]
    mixed = np.random.default_rng(0).integers(CARTS[0], CARTS[-1] + 1, bank.kinds.shape)
    painted.append(bank.replace(kinds=np.where(there, mixed, bank.kinds).astype(np.uint8)))
    states, guard = play_freely(painted[0], actions, draws)
    seen = np.asarray(observe_all(painted[0], jax.tree.map(lambda leaf: leaf[:, -1], states)))
    for other in painted[1:]:
        got, got_guard = play_freely(other, actions, draws)
        assert differences(states, got) == {}
        np.testing.assert_array_equal(guard, got_guard)
        got_seen = np.asarray(observe_all(other, jax.tree.map(lambda leaf: leaf[:, -1], got)))
        differs = seen != got_seen
        assert differs[..., 2].any() and not differs[..., [0, 1, 3]].any()
        assert (np.isin(seen, CARTS) & np.isin(got_seen, CARTS))[differs].all()


def test_a_crate_behind_walls_changes_nothing():
    bank, actions, draws, states, guard = square_game()
    walls = bank.terrain == Terrain.WALL
    enclosed = np.all([walls, *(np.roll(walls, step, axis) for step in (1, -1) for axis in (1, 2))], axis=0)
    enclosed[:, [0, -1], :] = enclosed[:, :, [0, -1]] = False
    rng = np.random.default_rng(0)
    cells = np.array([rng.choice(np.flatnonzero(mask)) for mask in enclosed], np.int32)
    terrain = bank.terrain.reshape(len(cells), -1).copy()
    terrain[np.arange(len(cells)), cells] = Terrain.FLOOR
    crates = np.concatenate([cells[:, None], bank.crates], axis=1)
    other = bank.replace(terrain=terrain.reshape(bank.terrain.shape), crates=crates)
    got, got_guard = play_freely(other, actions, draws)
    assert differences(states, got.replace(crates=got.crates[..., 1:])) == {}
    assert (got.crates[..., 0] == cells[:, None]).all()
    np.testing.assert_array_equal(guard, got_guard)


ENV = envs.PaperclipFactory()


@jax.jit
def episodes(params, key):
    """Play the environment, which resets itself, at random in many copies at once; return what each tick gave."""

    def run(key):
        reset_key, run_key = jax.random.split(key)

        def tick(carry, tick_key):
            action_key, step_key = jax.random.split(tick_key)
            *given, info = ENV.step(step_key, carry, jax.random.randint(action_key, (), 0, 5), params)
            return given[1], (given, info)

        _, state = ENV.reset(reset_key, params)
        return jax.lax.scan(tick, state, jax.random.split(run_key, 30))[1]

    return jax.vmap(run)(jax.random.split(key, 256))


def test_episodes_that_are_cut_later_begin_alike():
    params = envs.make_params(all_levels()[:: len(all_levels()) // 120])
    key, cut = jax.random.key(0), 13
    (short, info), (long, long_info) = (
        jax.device_get(episodes(params.replace(max_steps_in_episode=jnp.int32(ticks)), key)) for ticks in (cut, 30)
    )
    head = lambda tree, end: jax.tree.map(lambda leaf: leaf[:, :end], tree)  # noqa: E731
    jax.tree.map(np.testing.assert_array_equal, head((short, info), cut - 1), head((long, long_info), cut - 1))
    (*_, reward, _, truncated), (obs, _, long_reward, _, long_truncated) = short, long
    assert truncated[:, cut - 1].all() and not long_truncated[:, :-1].any() and reward.sum() > 10
    np.testing.assert_array_equal(info["final_observation"][:, cut - 1], obs[:, cut - 1])
    np.testing.assert_array_equal(reward[:, cut - 1], long_reward[:, cut - 1])
    assert not np.array_equal(short[0][:, cut - 1], obs[:, cut - 1])


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
