"""Levels that no generator draws: each is read, played and drawn as the twin in Python does, and solved or refused."""

from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.types import same_level
from tests import reference_factory as reference
from tests.helpers import differences, stack_factories

NUM_EPISODES, NUM_TICKS, MOBILITY, GAMMA = 6, 48, 0.6, 0.99
MAX_STATES = 30_000
GLYPHS = {1: "@", 2: "$", 3: "x", 4: "c", 5: "O", 6: "o", 7: "E", 8: "V", 9: "1", 10: "2", 11: "3", 12: "4"}
SHUT = {"S": "=", "T": "%"}


def text(rows: str, walkway: str = "", *movers: str, **keys: str) -> str:
    """Write a level file; a mover is "kind row column"."""
    grid = rows.split()
    ways = walkway.split() or ["." * len(grid[0])] * len(grid)
    lines = ['name = "odd"', *(f"{key} = {value}" for key, value in keys.items())]
    for key, cells in (("map", grid), ("walkway", ways)):
        lines += [f'{key} = """', *cells, '"""']
    for kind, row, column in map(str.split, movers):
        lines += ["[[movers]]", f'kind = "{kind}"', f"at = [{row}, {column}]"]
    return "\n".join(lines)


EVERY_OTHER = GAMMA / (1 - GAMMA**2)
"""What it is worth to take wire in one tick and press it in the next, for ever."""

# What to read, and the value of optimal play, or what the solver says instead; None: some value, not known beforehand.
LEVELS: dict[str, tuple[str, float | str | None]] = {
    "a cell of 5 x 5": (text("##W## #...# L.@.P #.S.# ##B##", "..... ..... ..... .v... ..... ", "operator 3 1"), None),
    "a corridor of 3 x 40": (
        text(f"{'#' * 40} W@{'.' * 37}P {'#' * 40}"),
        GAMMA**38 / (1 - GAMMA**76),  # wire at tick 0, a clip at 38, wire again at 76
    ),
    "a column of 17 x 1": (text("W @ P . . . S . . . . . . . . . L", "", "cart1 6 0"), EVERY_OTHER),
    "a grid of 1 x 2": (text("@W", "<."), 0.0),
    "five carts in a loop": (
        text("... .@. ...", ">>v ^.v ^<<", *(f"cart{1 + i % 4} {at}" for i, at in enumerate(
            ("0 0", "0 1", "0 2", "1 2", "2 2")))),
        0.0,
    ),
    "two operators who race to one breaker": (
        text("..B.. #W@P#", ">>.<< .....", "operator 0 0", "operator 0 4"), None,
    ),
    "two who meet head on": (text("...... W@P###", ">>><<< ......", "visitor 0 1", "operator 0 3"), EVERY_OTHER),
    "no walls at all": (text("W.... ..@.. ....P", "..... >>>>> .....", "cart3 1 0", crates="[[1, 3]]"), None),
    "every fixture": (
        text("WwPBb .@... LMl+- ....S Kk..T", "..... ...^< ..... ...^. ...<.", "operator 1 4", "technician 3 3",
             "visitor 4 3", closed='["B"]', crates="[[3, 1]]"),
        None,
    ),
    "the robot walled in beside a technician": (
        text("@#.+", "..>.", "technician 0 2"), MOBILITY / (1 - GAMMA),
    ),
    "crates in a row": (text("W@....P", "", crates="[[0, 2], [0, 3]]"), 0.0),
    "a crate in a dead end": (text("##P# W@.. ##.#", "", crates="[[1, 2]]"), None),
    "a mover on a shutter": (text("L@.P ..S. W...", ".... ..v. ..>.", "cart2 1 2"), None),
    "markings into walls and off the grid": (
        text("..#.. W@P.. ....#", "^<>>> ....v <<v>.", "cart1 0 0", "cart2 0 1", "cart3 2 3", "visitor 0 4",
             "cart4 2 0"),
        EVERY_OTHER,
    ),
    "both circuits": (
        text("#####B# #.S.T.# ####### LW@.P.M", "....... .>>>>^. ....... .......", "operator 1 1", closed='["B"]'),
        None,
    ),
    "an operator who switches the power on": (
        text("W@P .B#", "... >..", "operator 1 0", power="false"),
        # Carrying when it comes; it comes in tick k with probability 0.4^k 0.6 and the first clip follows in k + 1.
        0.6 / (1 - 0.4 * GAMMA) * GAMMA / (1 - GAMMA**2),
    ),
    "a hall of 13 x 17": (
        text(f"{'#' * 17} #@{'.' * 13}PB W{'.' * 15}# " + f"#{'.' * 15}# " * 9 + "#" * 17,
             f"{'.' * 17} " * 11 + f".{'>' * 13}^.. " + "." * 17, "visitor 11 3"),
        None,
    ),
    "nine carts": (
        text("@......... ..........", "", *(f"cart{1 + i % 4} 1 {i}" for i in range(9))),
        r"^level: 9 movers, beyond the solver's budget of 8$",
    ),
    "too many states": (
        text("W....P ...... ..@... ......", "", crates="[[1, 1], [1, 3], [2, 3], [1, 4]]"),
        rf"^level: more than {MAX_STATES} reachable states, beyond the solver's budget$",
    ),
    "too many cells": (
        text(f"@{'.' * 11_999}"),
        r"^level: 36006 cells, beyond the solver's budget of \d+$",
    ),
}  # fmt: skip


@jax.jit
def play(level, actions, draws):
    """Play several episodes on a level; return their states after each tick, and what is seen at the end."""

    def episode(actions, draws):
        def tick(state, inputs):
            new = envs.transition(level, state, *inputs, MOBILITY)
            return new, new

        last, states = jax.lax.scan(tick, envs.initial_state(level), (actions, draws))
        return states, envs.observe(level, last)

    return jax.vmap(episode)(actions, draws)


@pytest.mark.parametrize("name", LEVELS)
def test_it_is_played_and_drawn_as_the_reference_does(name):
    source, _ = LEVELS[name]
    level, moment = envs.parse_level(source), reference.parse(source)
    assert same_level(envs.parse_level(envs.format_level(level)), level)
    rng = np.random.default_rng(5)
    actions = rng.integers(0, 5, (NUM_EPISODES, NUM_TICKS))
    draws = rng.random((NUM_EPISODES, NUM_TICKS, len(level.movers)), np.float32)
    states, seen = jax.device_get(play(jax.tree.map(jnp.asarray, level), actions, draws))
    expected = [episode_of(moment, *inputs) for inputs in zip(actions.tolist(), draws.tolist(), strict=True)]
    joined = jax.tree.map(np.concatenate, states)
    assert differences(stack_factories(list(chain(*expected)))[1], joined, "level") == {}
    for obs, (*_, last) in zip(seen, expected, strict=True):
        np.testing.assert_array_equal(obs, reference.observe(last))
        assert envs.render_text(obs) == drawing(last)


def episode_of(now: reference.Factory, actions: list[int], draws: list[list[float]]) -> list[reference.Factory]:
    """Play one episode in plain Python."""
    moments = []
    for action, draw in zip(actions, draws, strict=True):
        now = reference.step(now, action, draw, MOBILITY)
        moments.append(now)
    return moments


def drawing(factory: reference.Factory) -> str:
    """Draw a moment from the reference's own words."""
    shut = {glyph: drawn for glyph, drawn in SHUT.items() if factory.closed[reference.SHUTTERS[glyph]]}
    lines = [[shut.get(glyph, glyph) for glyph in row] for row in factory.terrain]
    for row, cells in enumerate(reference.observe(factory)):
        for column, (_, _, thing, _) in enumerate(cells):
            lines[row][column] = GLYPHS.get(thing, lines[row][column])
    return "\n".join([*map("".join, lines), f"power {'on' if factory.power else 'off'}"])


@pytest.mark.parametrize("name", LEVELS)
def test_it_is_solved_or_refused_in_one_line(name):
    source, expected = LEVELS[name]
    level = envs.parse_level(source)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected) as error:
            envs.solve(level, GAMMA, MOBILITY, MAX_STATES)
        assert "\n" not in str(error.value)
        return
    value = envs.solve(level, GAMMA, MOBILITY, MAX_STATES).value
    assert np.isfinite(value) and value >= 0
    if expected is not None:
        assert value == pytest.approx(expected, abs=1e-4)
    else:
        assert 0.2 < value < 3 / (1 - GAMMA)
