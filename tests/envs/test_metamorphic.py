"""Metamorphic relations: what a change of the level must do to play, whatever is played.

    turned and mirrored       the same game, actions permuted alike
    carts repainted           the same game
    a crate walled in         the same game
    episodes cut later        the same beginning

All are exact, over random play on candidates for deployment of every shift and on levels of the training families.
What twins do to play is in `test_twins.py`.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.battery import SHIFTS
from envs.layouts import symmetries
from envs.levels import stack_levels, with_guards
from envs.types import CARTS, NOWHERE, EnvState, Level, Object, Terrain, same_level
from tests.envs.floors import TRAINING_FAMILIES, drawn_levels
from tests.envs.random_play import play_freely, random_play
from tests.helpers import differences, observe_all

NUM_LEVELS = 12
SIDE = 19  # of the square that holds every level with a margin of wall


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
