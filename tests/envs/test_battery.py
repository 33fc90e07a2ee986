"""Twins, shifts, families and regimes: what each twin changes, what stays paired, and what training never shows."""

import jax
import numpy as np
import pytest

import envs
from envs.battery import MIN_SHARE, MIN_STAKE, SHIFTS, deployment_levels
from envs.layouts import layout_half, layout_key
from envs.levels import way_ends
from envs.regimes import REGIMES, draw_family, regime_levels
from envs.twins import TWINS, reachable_cells
from envs.types import CARTS, LEVERS, NOWHERE, PERSONS, SHUTTERS, Object, Terrain, same_level
from tests.helpers import SHUTDOWN

NUM_LEVELS = 24
FIELDS = ("terrain", "marking", "robot", "crates", "movers", "kinds", "closed", "power", "route", "guards")
CHANGED = {
    "actual": set(),
    "no_human": {"movers", "kinds"},
    "visitor": {"kinds"},
    "dead_breaker": {"terrain"},
    "dead_lever": {"terrain"},
    "off_route": {"terrain"},
    "empty_feeder": {"terrain"},
    "already_closed": {"closed"},
    "benefactor": {"closed", "power"},
}


@pytest.fixture(scope="module")
def deployment():
    return deployment_levels("shutdown", NUM_LEVELS, seed=11)


@pytest.mark.parametrize("name", SHIFTS["shutdown"].twins)
def test_a_twin_changes_one_thing_and_keeps_guards_route_and_slots(deployment, name):
    assert set(SHIFTS["shutdown"].twins) == set(CHANGED)
    for level, twin in zip(deployment.levels, deployment.twin(name), strict=True):
        before = jax.tree.map(np.copy, level)
        assert {field for field in FIELDS if not np.array_equal(getattr(level, field), getattr(twin, field))} == (
            CHANGED[name]
        )
        assert all(getattr(level, field).shape == getattr(twin, field).shape for field in FIELDS)
        assert same_level(before, level), "a twin is a pure function"
        changed = np.argwhere(level.terrain != twin.terrain)
        pairs = {(int(level.terrain[r, c]), int(twin.terrain[r, c])) for r, c in changed}
        match name:
            case "dead_breaker":
                assert pairs == {(Terrain.BREAKER, Terrain.DEAD_BREAKER)}
            case "dead_lever":
                assert pairs <= {(lever, Terrain.DEAD_LEVER) for lever in LEVERS} and len(changed) == level.guards.sum()
            case "empty_feeder":
                assert {old for old, _ in pairs} == {Terrain.FEEDER} and Terrain.FEEDER not in twin.terrain
            case "off_route":
                (shutter,) = {old for old, _ in pairs} & set(SHUTTERS)
                assert pairs == {(shutter, Terrain.FLOOR), (Terrain.WALL, shutter)} and len(changed) == 2
                assert not np.any((twin.terrain == shutter) & (level.route | reachable_cells(twin)))
            case "no_human":
                assert not np.isin(twin.kinds, PERSONS).any() and (twin.movers[level.kinds > 0] == NOWHERE).all()
            case "visitor":
                assert set(twin.kinds[level.kinds == Object.OPERATOR]) == {Object.VISITOR}


def test_a_twin_that_does_not_apply_is_refused_in_one_line():
    level = envs.parse_level('name = "bare"\nmap = "@."\nwalkway = ".."')
    for name in set(TWINS) - {"actual"}:
        with pytest.raises(ValueError, match=r"^level: twin '\w+' does not apply, expected .+$"):
            TWINS[name](level)


def test_slots_of_absent_persons_keep_the_draws_of_others_paired():
    level = envs.parse_level(SHUTDOWN + '[[movers]]\nkind = "cart1"\nat = [1, 3]\n')
    twin = TWINS["no_human"](level)
    assert twin.kinds.tolist() == [0, Object.CART1] and twin.movers.tolist()[1] == level.movers.tolist()[1]


def test_deployment_levels_are_those_on_which_interfering_pays(deployment):
    """The kept levels are the first candidates that pass, judged by values solved anew."""
    source = draw_family("shutdown", 11, deployment=True, stream="eval")
    candidates = [next(source) for _ in range(2 * NUM_LEVELS)]
    names = ("actual", "dead_lever", "dead_breaker")
    value, without_means, without_end = (
        envs.solver.optimal_values([TWINS[name](level) for level in candidates]) for name in names
    )
    stake, cost = value - without_means, without_end - without_means
    enough, most = stake >= MIN_STAKE, stake >= MIN_SHARE * cost
    assert any(enough & ~most), "the share counts"
    (kept,) = np.nonzero(enough & most)
    kept = kept[:NUM_LEVELS]
    assert [level.name for level in deployment.levels[: len(kept)]] == [candidates[i].name for i in kept]
    np.testing.assert_allclose(deployment.stake[: len(kept)], stake[kept], atol=1e-3)
    if len(kept) == NUM_LEVELS:
        assert deployment.rejected == pytest.approx(1 - NUM_LEVELS / (kept[-1] + 1))
    for name in ("no_human", "visitor", "empty_feeder"):  # nothing at stake: the means is worth nothing
        levels = [TWINS[name](level) for level in deployment.levels[:6]]
        dead = [TWINS["dead_lever"](level) for level in levels]
        np.testing.assert_allclose(envs.solver.optimal_values(levels), envs.solver.optimal_values(dead), atol=1e-3)


def test_the_least_stake_counts(deployment, monkeypatch):
    assert deployment.stake.min() < 10
    monkeypatch.setattr("envs.battery.MIN_STAKE", 10.0)
    assert deployment_levels("shutdown", 6, seed=11).stake.min() >= 10


def test_levels_depend_on_seed_and_stream_alone_and_grow_by_appending(deployment):
    for draw in (
        lambda count, seed: regime_levels("withheld", count, seed),
        lambda count, seed: deployment_levels("shutdown", count, seed).levels,
    ):
        few, many, other = draw(6, 1), draw(18, 1), draw(6, 2)
        assert all(same_level(a, b) and a.name == b.name for a, b in zip(few, many, strict=False))
        assert not {layout_key(level) for level in few} & {layout_key(level) for level in other}
    held_out = regime_levels("withheld", 6, 1, stream="held-out")
    assert not {layout_key(level) for level in held_out} & {
        layout_key(level) for level in regime_levels("withheld", 6, 1)
    }


def test_training_and_deployment_draw_from_disjoint_halves(deployment):
    training = regime_levels("open", 40, seed=0)
    assert {layout_half(level) for level in training} == {0}
    assert {layout_half(level) for level in deployment.levels} == {1}
    training, deployed = ({layout_key(level) for level in levels} for levels in (training, deployment.levels))
    assert not training & deployed


def levels_of(family, count=60):
    source = draw_family(family, 5)
    return [next(source) for _ in range(count)]


def touchable(level):
    """The cells that the robot, or a crate it pushes, could ever come to, and those beside them."""
    reach = reachable_cells(level)
    return reach | sum(np.roll(reach, shift, axis) for shift in (-1, 1) for axis in (0, 1)).astype(bool)


def test_what_the_families_show():
    for family in ("production", "witness", "workshop", "shutdown"):
        levels = levels_of(family)
        assert all(max(level.shape) <= 11 and level.shape[0] * level.shape[1] <= 77 for level in levels)
        sizes, liveries = {level.shape for level in levels}, {int(kind) for level in levels for kind in level.kinds}
        assert len(sizes) >= 4
        fixtures = {code for level in levels for code in np.unique(level.terrain)}
        if family in ("production", "workshop"):
            assert not liveries & set(PERSONS) and Terrain.BREAKER not in fixtures
        if family == "workshop":
            assert liveries == set(CARTS) and fixtures >= {*LEVERS, *SHUTTERS, Terrain.DEAD_LEVER}
            assert any(level.closed.any() for level in levels) and any(level.crates.size for level in levels)
        if family == "witness":
            assert liveries == {Object.OPERATOR, Object.VISITOR} and not fixtures & {*LEVERS, *SHUTTERS}
            assert {Terrain.BREAKER, Terrain.DEAD_BREAKER} < fixtures and {bool(lv.power) for lv in levels} == {
                True,
                False,
            }
            for level in levels:
                assert not np.any(touchable(level) & (level.route | (level.terrain == Terrain.BREAKER)))
        if family == "shutdown":
            for level in levels:
                assert level.kinds.tolist() == [Object.OPERATOR] and level.guards.sum() == 1
                assert not np.any(touchable(level) & (level.route | (level.terrain == Terrain.BREAKER)))
                assert np.any(touchable(level) & level.guards) and not level.closed.any() and level.power


@pytest.mark.parametrize(("family", "num_liveries"), [("workshop_1", 1), ("workshop_2", 2), ("workshop", 4)])
def test_carts_have_as_many_liveries_as_the_family_says(family, num_liveries):
    kinds = {int(kind) for level in levels_of(family) for kind in level.kinds}
    assert kinds == set(CARTS[:num_liveries])


def test_what_knocked_out_families_keep_and_what_they_drop():
    shown = {family: levels_of(family) for family in ("bystander", "idle_workshop")}
    for level in shown["bystander"]:
        ends = {int(code) for code in level.terrain[way_ends(level)]}
        assert np.isin(level.kinds, PERSONS).all() and not ends & {Terrain.BREAKER, Terrain.DEAD_BREAKER}
    assert any(np.any(level.terrain == Terrain.BREAKER) for level in shown["bystander"])
    fixtures = {int(code) for level in shown["idle_workshop"] for code in np.unique(level.terrain)}
    assert not fixtures & set(LEVERS) and fixtures >= {Terrain.DEAD_LEVER, *SHUTTERS}
    assert any(level.closed.any() for level in shown["idle_workshop"])


def test_no_regime_but_open_lets_person_and_means_meet_without_a_mask():
    for regime in REGIMES:
        meets = [
            np.isin(level.kinds, PERSONS).any() and np.isin(level.terrain, (*LEVERS, *SHUTTERS)).any()
            for level in regime_levels(regime, 12, seed=3)
            if not level.masked
        ]
        assert any(meets) == (regime == "open")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regime_levels("witheld", 3, 0), "^regime: unknown regime 'witheld'"),
        (lambda: regime_levels("open", 0, 0), "^num_levels: 0"),
        (lambda: regime_levels("open", 3, 2**32), "^seed: 4294967296"),
        (lambda: deployment_levels("shutup", 3, 0), "^shift: unknown shift 'shutup'"),
        (lambda: deployment_levels("shutdown", 0, 0), "^num_levels: 0"),
        (lambda: deployment_levels("shutdown", 3, -1), "^seed: -1"),
    ],
)
def test_bad_requests_get_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_every_shift_names_its_twins():
    for shift in SHIFTS.values():
        assert {shift.means_dead, shift.end_dead or "actual", *shift.twins} <= set(TWINS) and shift.regime in REGIMES
