"""Level files, padding, symmetries and layout keys."""

import random
from pathlib import Path

import jax
import numpy as np
import pytest

import envs
from envs import levels as module
from envs.layouts import layout_half, layout_key, permute_action, symmetries
from envs.levels import make_params, pad_level, stack_levels
from envs.regimes import FAMILIES, draw_family
from envs.types import Object, Terrain, same_level
from tests.helpers import SHUTDOWN, observe_all, trajectories
from tests.reference_factory import observe, parse, random_factory

FOLDER = Path(module.__file__).parent / "levels"
EXAMPLE = SHUTDOWN.replace('map = """', 'power = true\nclosed = ["A"]\nmap = """').replace(
    "[[movers]]", "crates = [[4, 2]]\n[[movers]]"
)


def cell(level, row, column):
    return (row + 1) * level.width + column + 1


def some_levels(count, height=4, width=5):
    """Crowded random levels, as a level file would hold them: nobody spent, nothing carried."""
    rng = random.Random(1)
    levels = []
    for _ in range(count):
        factory = random_factory(rng, height, width)
        movers = "".join(f'[[movers]]\nkind = "{m.kind}"\nat = {list(m.cell)}\n' for m in factory.movers)
        factory.terrain[factory.robot[0]][factory.robot[1]] = "@"
        grids = [
            f"{key} = '''\n" + "\n".join(map("".join, grid)) + "\n'''\n"
            for key, grid in (("map", factory.terrain), ("walkway", factory.walkway))
        ]
        closed = [circuit for circuit in "AB" if factory.closed[circuit]]
        crates = [list(place) for place in factory.crates]
        head = f'name = "{count}"\npower = {str(factory.power).lower()}\nclosed = {closed}\ncrates = {crates}\n'
        levels.append(head + "".join(grids) + movers)
    return levels


def test_example_of_the_design():
    level = envs.parse_level(EXAMPLE)
    assert level.name == "shutdown" and level.shape == (6, 11) and level.power
    assert level.closed.tolist() == [True, False]
    assert level.robot == cell(level, 4, 5) and level.crates.tolist() == [cell(level, 4, 2)]
    assert level.movers.tolist() == [cell(level, 1, 1)] and level.kinds.tolist() == [Object.OPERATOR]
    assert level.terrain.reshape(-1)[cell(level, 1, 9)] == Terrain.BREAKER
    assert np.argwhere(level.guards).tolist() == [[4, 7]], "the lever, ring counted"
    assert np.argwhere(level.route).tolist() == [[2, column] for column in range(2, 10)]
    assert level.marking[2].tolist() == [0, 0, *[2] * 8, 0, 0, 0]


@pytest.mark.parametrize("text", [EXAMPLE, SHUTDOWN, *some_levels(30)])
def test_parsing_agrees_with_the_reference_and_formatting_inverts_it(text):
    level = envs.parse_level(text)
    bank = stack_levels([level])
    assert np.array_equal(observe_all(bank, jax.vmap(envs.initial_state)(bank))[0], observe(parse(text)))
    again = envs.parse_level(envs.format_level(level))
    assert same_level(level, again) and again.name == level.name


@pytest.mark.parametrize("name", ['back\\slash "quoted"', "two\nlines\ttab", "päper 📎"])
def test_names_survive_formatting(name):
    level = envs.parse_level(SHUTDOWN).replace(name=name)
    assert envs.parse_level(envs.format_level(level)).name == name


def edited(*changes):
    text = EXAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


WALKWAY = EXAMPLE[EXAMPLE.index("walkway") : EXAMPLE.index("crates")]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (edited(("#....@....#", "#.@..@....#")), ["map row 4", "exactly one robot", "found 2"]),
        (edited(("#....S...B#", "#....S.@.B#")), ["map row 4", "found 2"]),
        (edited(("@", ".")), ["map", "exactly one robot", "found 0"]),
        (edited(("#W....L..P#", "#W....L..P")), ["map row 3", "10 cells", "expected 11"]),
        (edited(("#W....L..P#", "")), ["map row 3", "empty"]),
        (edited(("#W....L..P#", "#W....?..P#")), ["map row 3", "unknown glyph '?'"]),
        (edited(("#W....L..P#", " W....L..P#")), ["map row 3", "unknown glyph ' '"]),
        (edited((".>>>>>>>>..", ".>>>#>>>>..")), ["walkway row 1", "unknown glyph '#'"]),
        (edited((WALKWAY, 'walkway = """\n...\n"""\n')), ["walkway", "1 rows", "expected 6"]),
        (edited((WALKWAY, 'walkway = """\n' + "...\n" * 6 + '"""\n')), ["walkway", "3 cells", "expected 11"]),
        (edited((WALKWAY, 'walkway = ""\n')), ["walkway", "at least one row"]),
        (edited((WALKWAY, "")), ["walkway", "missing"]),
        ('name = "x"\nwalkway = "."', ["map", "missing"]),
        (edited(('name = "shutdown"', "")), ["name", "missing"]),
        (edited(('"shutdown"', "7")), ["name", "expected a str", "7"]),
        (edited(("power = true", "power = 1")), ["power", "expected a bool"]),
        (edited(('closed = ["A"]', 'closed = "A"')), ["closed", "expected a list"]),
        (edited(('closed = ["A"]', 'closed = ["C"]')), ["closed", "'C'", "'A' or 'B'"]),
        (edited(('closed = ["A"]', 'closed = ["A", "B"]')), ["closed", "circuit B has no shutter"]),
        (edited(("at = [1, 1]", "at = [1, 99]")), ["movers[0].at", "off the grid", "columns 0..10"]),
        (edited(("at = [1, 1]", "at = [-1, 1]")), ["movers[0].at", "off the grid"]),
        (edited(("at = [1, 1]", "at = [0, 1]")), ["movers[0].at", "'#'", "floor or an open shutter"]),
        (edited(("at = [1, 1]", "at = [1, 5]")), ["movers[0].at", "'S'", "open shutter"]),
        (edited(("at = [1, 1]", "at = [1.0, 1]")), ["movers[0].at", "[row, column]"]),
        (edited(("at = [1, 1]", "at = [true, 1]")), ["movers[0].at", "[row, column]"]),
        (edited(("at = [1, 1]", "")), ["movers[0].at", "missing"]),
        (edited(("at = [1, 1]", "at = [4, 2]")), ["movers[0].at", "taken by crates[0]"]),
        (edited(("at = [1, 1]", "at = [4, 5]")), ["movers[0].at", "taken by the robot"]),
        (EXAMPLE + '[[movers]]\nkind = "visitor"\nat = [1, 1]\n', ["movers[1].at", "taken by movers[0]"]),
        (edited(("[[4, 2]]", "[[4, 5]]")), ["crates[0]", "taken by the robot"]),
        (edited(("[[4, 2]]", "[[4]]")), ["crates[0]", "[row, column]"]),
        (edited(("[[4, 2]]", "[4, 2]")), ["crates[0]", "[row, column]"]),
        (edited(('"operator"', '"cart5"')), ["movers[0].kind", "'cart5'", "operator"]),
        (edited(('kind = "operator"', "")), ["movers[0].kind", "missing"]),
        (edited(("crates", "crate")), ["crate:", "unknown key"]),
        (EXAMPLE + "crates = [[4, 3]]\n", ["movers[0].crates", "unknown key"]),
        (edited(("name =", '"two\\nlines" = 1\nname =')), ["unknown key"]),
        (edited(("[[movers]]", "[movers]")), ["movers", "expected a list"]),
        (edited(("[[movers]]", "movers = [3] #"), ('kind = "operator"\nat = [1, 1]', "")), ["movers[0]", "a table"]),
        (edited(("power = true", "power = maybe")), ["not valid TOML"]),
        ("map = [", ["not valid TOML"]),
        ("", ["missing"]),
    ],
)
def test_bad_files_get_one_line_that_says_where(text, parts, tmp_path):
    with pytest.raises(ValueError) as error:
        envs.parse_level(text)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    for part in parts:
        assert part in line
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError) as error:
        envs.load_level(path)
    assert str(error.value) == f"{path}: {line}"


def test_unreadable_files_get_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"missing\.toml: cannot be read"):
        envs.load_level(tmp_path / "missing.toml")
    with pytest.raises(ValueError, match="cannot be read"):
        envs.load_level(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ValueError, match=r"latin\.toml: expected UTF-8"):
        envs.load_level(tmp_path / "latin.toml")


def test_unusual_files_that_are_legal():
    text = 'name = ""\nmap = "@"\nwalkway = "^"'
    assert envs.parse_level(text).shape == (1, 1)
    crlf = EXAMPLE.replace("\n", "\r\n")
    assert same_level(envs.parse_level(crlf), envs.parse_level(EXAMPLE))
    on_shutter = envs.parse_level(edited(('closed = ["A"]', "closed = []"), ("at = [1, 1]", "at = [1, 5]")))
    assert on_shutter.movers[0] == cell(on_shutter, 1, 5)


def test_package_levels_are_beside_their_module():
    assert Path(module.__file__).name == "levels.py", "the folder must not hide the module"
    assert same_level(envs.load_level(FOLDER / "shutdown.toml"), envs.parse_level(SHUTDOWN))
    assert envs.solve(envs.load_level(FOLDER / "benefactor.toml")).value > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(levels=[]), r"^levels: .*at least one"),
        (dict(mobility=float("nan")), r"^mobility: nan"),
        (dict(mobility=1.5), r"^mobility: 1\.5"),
        (dict(mobility=-0.1), r"^mobility: -0\.1"),
        (dict(mobility="fast"), r"^mobility: 'fast'"),
        (dict(max_steps_in_episode=0), r"^max_steps_in_episode: 0"),
        (dict(max_steps_in_episode=2.5), r"^max_steps_in_episode: 2\.5"),
    ],
)
def test_bad_parameters_get_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        make_params(**{"levels": [envs.parse_level(SHUTDOWN)], **arguments})
    assert "\n" not in str(error.value)


def play_randomly(bank, actions, draws):
    """Return the counter, clips and guard acts of each tick, and all states, under given actions and draws."""
    state, guard = jax.device_get(trajectories(bank, actions, draws, 0.7))
    return np.stack([state.counter, state.clips, guard, state.power, *np.moveaxis(state.closed, -1, 0)]), state


def plan(count, num_movers, ticks=60):
    rng = np.random.default_rng(0)
    return rng.integers(0, 5, (count, ticks)), rng.random((count, ticks, num_movers), np.float32)


def test_padding_changes_nothing():
    levels = [envs.parse_level(text) for text in some_levels(60)]
    actions, draws = plan(len(levels), 3)
    plain, states = play_randomly(stack_levels(levels), actions, draws)
    draws = np.concatenate([draws, np.zeros_like(draws)], axis=-1)
    padded, padded_states = play_randomly(stack_levels(levels, (9, 7, 4, 6)), actions, draws)
    np.testing.assert_array_equal(plain, padded)
    assert plain[0, :, -1].sum() > 20, "something was earned"
    last = [jax.tree.map(lambda leaf: leaf[:, -1], part) for part in (states, padded_states)]
    small = observe_all(stack_levels(levels), last[0])
    large = observe_all(stack_levels(levels, (9, 7, 4, 6)), last[1])
    np.testing.assert_array_equal(small, large[:, :4, :5])
    assert (np.asarray(large)[:, 4:, :, :3] == [1, 0, 0]).all(), "padding is wall"


def test_mirrored_and_rotated_games_earn_the_same():
    levels = [envs.parse_level(text) for text in some_levels(60, 5, 5)]
    actions, draws = plan(len(levels), 3)
    expected, _ = play_randomly(stack_levels(levels), actions, draws)
    assert expected[0, :, -1].sum() > 20 and expected[2].any()
    turned = list(zip(*map(symmetries, levels), strict=True))
    assert len({copies[0].terrain.tobytes() for copies in turned}) == 8
    for copies, turn in zip(turned, np.ndindex(2, 2, 2), strict=True):
        permuted = np.array([permute_action(action, *turn) for action in range(5)])[actions]
        got, _ = play_randomly(stack_levels(copies), permuted, draws)
        np.testing.assert_array_equal(expected, got)


def test_layout_keys_ignore_symmetries_and_padding_and_nothing_else():
    levels = [next(draw_family(family, seed)) for family in FAMILIES for seed in range(5)]
    levels += [envs.parse_level(EXAMPLE), envs.parse_level(SHUTDOWN)]
    levels.append(levels[-1].replace(power=np.bool_(False)))
    keys = [layout_key(level) for level in levels]
    assert len(set(keys)) == len(levels)
    assert {layout_half(level) for level in levels} == {0, 1}
    for level, key in zip(levels, keys, strict=True):
        copies = [*symmetries(level), pad_level(level, 13, 12, 3, 4), pad_level(symmetries(level)[5], 14, 14, 2, 2)]
        assert {layout_key(copy) for copy in copies} == {key}
        assert len({layout_half(copy) for copy in copies}) == 1
