"""Settings as plain data: one text, one name for equal settings; what is no settings is refused in one line."""

import json
import math
from dataclasses import asdict, dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl.configs import VERSIONS
from mbrl.experiments.demo import EXPERIMENT
from mbrl.plain import build, canonical, identity, read_json
from mbrl.trials import Training


@dataclass(frozen=True)
class Inner:
    size: int
    rate: float


@dataclass(frozen=True)
class Other:
    word: str


@dataclass(frozen=True)
class Outer:
    flag: bool
    word: str | None
    pair: tuple[int, float]
    many: tuple[str, ...]
    part: Inner | Other


OUTER = Outer(True, None, (3, 0.5), ("a", "b"), Inner(7, 2.0))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(10**400),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=9), part, max_size=4),
    max_leaves=8,
)


def test_there_is_one_text_for_equal_data() -> None:
    assert canonical({"b": [1, 2.5, None], "a": {"ü": True}}) == b'{"a":{"\\u00fc":true},"b":[1,2.5,null]}'
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError):
            canonical([number])


def leaves(data, path: tuple = ()):
    """Yield the place of every leaf."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    yield from (leaf for key, part in items for leaf in leaves(part, (*path, key)))
    if not isinstance(data, (dict, list)):
        yield path


def turned(data):
    """Turn round the order of all keys."""
    return {key: turned(data[key]) for key in reversed(data)} if isinstance(data, dict) else data


def test_the_identity_is_of_every_setting_and_version() -> None:
    trial = next(trial for trial in EXPERIMENT.trials() if isinstance(trial, Training))
    config = json.loads(json.dumps(trial.config))
    assert list(turned(config)) != list(config)
    assert identity(turned(config), turned(VERSIONS)) == trial.identity and len(trial.identity) == 16
    changed = [identity(config, VERSIONS | {name: number + 1}) for name, number in VERSIONS.items()]
    changed += [identity(config, VERSIONS | {"new": 1}), identity(config | {"new": 1}, VERSIONS)]
    for path in leaves(config):
        other = json.loads(json.dumps(config))
        inner = other
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = "changed"
        changed.append(identity(other, VERSIONS))
    assert len(changed) > 40 and len({trial.identity, *changed}) == len(changed) + 1


@pytest.mark.parametrize("part", VERSIONS)
def test_what_is_only_trained_outlives_new_metrics_and_planners(part, monkeypatch) -> None:
    whole = next(trial for trial in EXPERIMENT.trials() if isinstance(trial, Training))
    trained = replace(whole, evaluation=None)
    before = trained.identity, whole.identity
    monkeypatch.setitem(VERSIONS, part, VERSIONS[part] + 1)
    assert (trained.identity == before[0]) == (part in ("metrics", "planners")) and whole.identity != before[1]


def test_what_was_built_is_equal() -> None:
    for one in (OUTER, Outer(False, "", (0, -1.0), (), Other("x"))):
        assert build(Outer, json.loads(json.dumps(asdict(one)))) == one
    built = build(Outer, asdict(OUTER) | {"pair": [3, 1]})
    assert built.pair == (3, 1.0) and type(built.pair[1]) is float, "equal numbers must have equal texts"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"flag": 1}, "config.flag: expected bool, got '1'"),
        ({"word": 3}, "config.word: expected str or NoneType, got '3'"),
        ({"pair": [3]}, "config.pair: expected tuple, got '[3]'"),
        ({"pair": [3, "x"]}, "config.pair: expected float, got 'x'"),
        ({"pair": [True, 1.0]}, "config.pair: expected int, got 'True'"),
        ({"pair": [1, 10**400]}, "config.pair: expected float, got '1000"),
        ({"many": "ab"}, "config.many: expected tuple"),
        ({"part": {"size": 1}}, "config.part: expected Inner or Other"),
        ({"part": {"size": 1.5, "rate": 1}}, "config.part.size: expected int, got '1.5'"),
        ({"a\nb": 1}, r"config: expected only flag, word, pair, many, part, got 'a\nb'"),
        ({"__class__": 1}, "got '__class__'"),
    ],
)
def test_what_is_wrong_is_named(change: dict, complaint: str) -> None:
    with pytest.raises(ValueError) as error:
        build(Outer, asdict(OUTER) | change)
    assert complaint in str(error.value) and str(error.value).isprintable()
    for missing in asdict(OUTER):
        with pytest.raises(ValueError, match=f"config.{missing} is missing"):
            build(Outer, {name: value for name, value in asdict(OUTER).items() if name != missing})


@given(JSON | st.fixed_dictionaries({name: st.just(value) | JSON for name, value in asdict(OUTER).items()}))
def test_anything_is_built_or_refused_in_one_line(data) -> None:
    try:
        assert isinstance(build(Outer, data), Outer)
    except ValueError as error:
        assert str(error).isprintable()


@given(st.binary(max_size=30) | JSON.map(lambda data: json.dumps(data).encode()))
def test_json_is_read_or_refused(content: bytes) -> None:
    try:
        expected = json.dumps(json.loads(content.decode()))
    except ValueError:
        with pytest.raises(ValueError):
            read_json(content)
    else:
        assert json.dumps(read_json(content)) == expected


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 9999, b"\xff\xfe", b"", "1".encode("utf-16")]
)
def test_hostile_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_json(content)
