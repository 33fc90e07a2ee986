"""The store: a trial is there whole or not at all, every damage is found and named, equal work has equal digests."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl import files
from mbrl import store as stores
from mbrl.configs import VERSIONS
from mbrl.plain import identity, read_json
from mbrl.store import MANIFEST, RECORD, Damaged, Store
from tests import faults

CONFIGS = [{"task": "test", "number": number} for number in range(3)]
NAMES = [identity(config, VERSIONS) for config in CONFIGS]
ARRAYS = {"x": np.arange(64, dtype=np.float32), "y": np.ones((2, 3), bool)}
FILES = ("scores.safetensors", "lanes.json", RECORD)


def contents(number: int = 0) -> dict[str, bytes]:
    record = stores.json_bytes({"finished": "then", "seconds": {"train": number}})
    arrays = stores.arrays_bytes({name: array + number for name, array in ARRAYS.items()})
    return dict(zip(FILES, (arrays, stores.json_bytes([{"seed": number}]), record), strict=True))


def commit(store: Store, number: int = 0) -> str:
    return store.commit(NAMES[number], CONFIGS[number], VERSIONS, contents(number)).digest


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(tmp_path_factory.mktemp("template"))
    for number in range(3):
        commit(store, number)
    return store.root


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Store:
    shutil.copytree(template, tmp_path / "runs")
    return Store(tmp_path / "runs")


def test_what_is_finished_is_whole_and_read_only(store: Store) -> None:
    assert sorted(store.names()) == sorted(NAMES) and files.names_in(store.work) == []
    for number, name in enumerate(NAMES):
        manifest = store.verify(name)
        assert {file: manifest.read(file) for file in manifest.files} == contents(number)
        assert (manifest.config, manifest.versions) == (CONFIGS[number], VERSIONS)
        for file in (*FILES, MANIFEST):
            assert (store.trials / name / file).stat().st_mode & 0o222 == 0
    with pytest.raises(Damaged, match=r"\.\./lanes\.json is not among its files"):
        manifest.read("../lanes.json")
    with pytest.raises(Damaged, match="is missing"):
        store.verify("0" * 16)
    assert store.has(NAMES[0]) and not store.has("0" * 16)
    with store.claim(NAMES[0]) as mine, store.claim(NAMES[1]) as other, store.claim(NAMES[0]) as again:
        assert mine and other and not again


@pytest.mark.parametrize("error", [faults.FULL, KeyboardInterrupt()], ids=["full", "killed"])
def test_a_commit_that_fails_anywhere_leaves_all_or_nothing(tmp_path: Path, error: BaseException) -> None:
    """A full disk at every operation; and a death there, after which nobody tidies up."""

    def prepare(root: Path) -> Store:
        store = Store(root)
        files.write_whole(store.workspace(NAMES[0]) / "parts" / "lanes.json", b"part")
        return store

    store = prepare(tmp_path / "good")
    with faults.disk() as watched:
        digest = commit(store)
    finished = []
    for k in range(len(watched.seen)):
        store = prepare(tmp_path / str(k))
        with faults.disk(k, error), pytest.raises(type(error)):
            commit(store)
        finished.append(store.has(NAMES[0]))
        if not finished[-1]:
            assert store.names() == []
            commit(store)
        assert store.verify(NAMES[0]).digest == digest
        store.clear_work(NAMES[0])
        assert files.names_in(store.work) == []
    moment = watched.seen.index(os.rename, watched.seen.index(os.rename) + 1)  # The first is that of the manifest.
    assert finished == [k > moment for k in range(len(finished))]


def reseal(folder: Path, **changes) -> None:
    """Change a manifest as somebody would who knows how its digest and checksum are made."""
    body = json.loads((folder / MANIFEST).read_bytes()) | changes
    del body["checksum"]
    if "digest" not in changes and isinstance(body["files"], dict):
        hashes = {name: entry.get("sha256") for name, entry in body["files"].items() if type(entry) is dict}
        body["digest"] = stores._digest(body["name"], hashes)
    faults.overwrite(folder / MANIFEST, stores._sealed(body))


def listing(folder: Path, name: str) -> dict:
    return json.loads((folder / MANIFEST).read_bytes())["files"] | {name: {"sha256": "0" * 64, "size": 0}}


TO_A_FILE: dict[str, Callable[[Path], object]] = {
    **{f"flip {at}": lambda path, at=at: faults.flip(path, at, bit=int(at * 10) % 8) for at in (0, 0.1, 0.37, 0.8, 1)},
    "truncate": faults.truncate,
    "zero": faults.zero,
    "empty": lambda path: faults.overwrite(path, b""),
    "longer": lambda path: faults.overwrite(path, path.read_bytes() + b"\n"),
    "delete": lambda path: path.unlink(),
    "rename": lambda path: path.rename(path.with_name("other")),
    "link": lambda path: (path.rename(path.parents[2] / "else"), path.symlink_to(path.parents[2] / "else")),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "folder": lambda path: (path.unlink(), path.mkdir()),
}
DEEP = b"[" * 200_000
TO_A_FOLDER: dict[str, tuple[str, Callable[[Path], object]]] = {
    "extra file": ("extra", lambda path: (path / "extra").touch()),
    "extra pipe": ("extra", lambda path: os.mkfifo(path / "extra")),
    "extra in two lines": (r"'ex\ntra'", lambda path: (path / "ex\ntra").touch()),
    "hidden": (".lanes.json.1", lambda path: (path / ".lanes.json.1").touch()),
    "files swapped": ("lanes.json", lambda path: faults.swap(path / "lanes.json", path / RECORD)),
    "folders swapped": (MANIFEST, lambda path: faults.swap(path, path.with_name(NAMES[2]))),
    "folder copied": (MANIFEST, lambda path: (shutil.rmtree(path), shutil.copytree(path.with_name(NAMES[0]), path))),
    "a file": (MANIFEST, lambda path: (shutil.rmtree(path), path.touch())),
    "nothing": (MANIFEST, lambda path: (shutil.rmtree(path), path.mkdir())),
    "whitespace": (MANIFEST, lambda path: faults.overwrite(path / MANIFEST, b" " + (path / MANIFEST).read_bytes())),
    **{
        f"manifest {text[:4]!r}": (MANIFEST, lambda path, text=text: faults.overwrite(path / MANIFEST, text))
        for text in (b"", b"null", b"[]", DEEP, b"9" * 9999, b"\xff\xfe{}")
    },
    **{
        f"other {field}": (MANIFEST, lambda path, field=field, value=value: reseal(path, **{field: value}))
        for field, value in dict(config={}, name="x\ny", versions={}, schema=99, digest="0" * 64).items()
    },
    "lists nothing": ("lanes.json", lambda path: reseal(path, files={})),
    **{
        f"lists {name[:9]!r}": (MANIFEST, lambda path, name=name: reseal(path, files=listing(path, name)))
        for name in ("/etc/passwd", "../lanes.json", "a/../lanes.json", "..", ".", "", MANIFEST, "\0", "a\nb", "\ud800")
    },
    "lists a long name": ("xxx", lambda path: reseal(path, files=listing(path, "x" * 300))),
}  # fmt: skip
DAMAGES = {
    **{
        f"{kind}: {file}": (file, lambda path, file=file, damage=damage: damage(path / file))
        for kind, damage in TO_A_FILE.items()
        for file in (*FILES, MANIFEST)
    },
    **TO_A_FOLDER,
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_damage_is_found_and_named(store: Store, kind: str) -> None:
    named, damage = DAMAGES[kind]
    damage(store.trials / NAMES[1])
    with pytest.raises(Damaged) as found:
        store.verify(NAMES[1])
    line = str(found.value)
    assert str(store.trials / NAMES[1]) in line and named in line and line.isprintable()
    unharmed = [NAMES[0]] if kind == "folders swapped" else [NAMES[0], NAMES[2]]
    assert [store.verify(name).name for name in unharmed] == unharmed
    place = store.set_aside(NAMES[1])
    assert not store.has(NAMES[1]) and os.path.lexists(place)


def test_all_damages_of_a_trial_are_counted_and_kept(store: Store) -> None:
    digest = store.verify(NAMES[0]).digest
    for number in range(2):
        for file in FILES:
            faults.flip(store.trials / NAMES[0] / file, 0.5)
        assert [line.split(": ")[1].split()[0] for line in stores.damages(store.trials / NAMES[0])] == sorted(FILES)
        with pytest.raises(Damaged, match=r"lanes\.json is damaged .* \(and 2 more\)$"):
            store.verify(NAMES[0])
        assert store.set_aside(NAMES[0]).name == f"{NAMES[0]}.{number}"
        assert commit(store) == store.verify(NAMES[0]).digest == digest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=8), part, max_size=3),
    max_leaves=6,
)
LISTING = st.dictionaries(st.text() | st.sampled_from(FILES), st.fixed_dictionaries({"sha256": JSON}))


@given(st.sampled_from(["name", "config", "versions", "digest", "schema", "files"]), JSON | LISTING)
def test_no_manifest_does_more_than_fail(template: Path, field: str, value) -> None:
    """A manifest whose checksum is right may say anything: it verifies only if it says what it said."""
    folder = template.with_name("hostile") / "trials" / NAMES[0]
    if not folder.exists():
        shutil.copytree(template / "trials" / NAMES[0], folder)
    original = (template / "trials" / NAMES[0] / MANIFEST).read_bytes()
    faults.overwrite(folder / MANIFEST, original)
    reseal(folder, **{field: value})
    if (folder / MANIFEST).read_bytes() != original:
        with pytest.raises(Damaged) as found:
            Store(folder.parents[1]).verify(NAMES[0])
        assert str(found.value).isprintable()


def test_the_digest_is_of_what_is_computed(tmp_path: Path, store: Store) -> None:
    """When and where a trial was computed, and in which order its files were given, makes no difference."""
    late = dict(reversed(contents().items())) | {RECORD: stores.json_bytes({"finished": "now"})}
    others = [late, late | {"lanes.json": b"[]"}, late | {"more.json": b"[]"}]
    stored = (Store(tmp_path / str(k)).commit(NAMES[0], CONFIGS[0], VERSIONS, one) for k, one in enumerate(others))
    digests = [manifest.digest for manifest in stored]
    assert digests[0] == store.verify(NAMES[0]).digest
    assert len({*digests, store.verify(NAMES[1]).digest}) == 4


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "uint32", "int32", "int64", "float16", "float32", "float64"]
)
def test_arrays_come_back_bit_for_bit(dtype: str) -> None:
    bits = np.random.default_rng(0).integers(0, 256, (4, 6, 8), np.uint8)
    array = bits > 99 if dtype == "bool" else bits.view(dtype)  # NaNs of all kinds among them.
    arrays = {"array": array, "turned": array.T, "part": array[::2, 1:], "none": array[:0], "one": array[0, 0, 0]}
    found = stores.read_arrays(stores.arrays_bytes(arrays))
    for name, one in arrays.items():
        assert (found[name].dtype, found[name].shape) == (one.dtype, np.shape(one)), name
        assert found[name].tobytes() == np.asarray(one).tobytes(), name


HEADER = b'{"x":{"dtype":"%b","shape":[4],"data_offsets":[0,8]}}'
HEADERS = [b"[]", b"{", DEEP[:5000], *(HEADER % kind for kind in (b"BF16", b"F32", b"O", rb"F\nG"))]


@given(
    st.binary(max_size=40)
    | (st.sampled_from(HEADERS) | st.binary(max_size=40)).map(
        lambda text: struct.pack("<Q", len(text)) + text + bytes(8)
    )
)
def test_bad_arrays_are_refused_in_one_line(content: bytes) -> None:
    try:
        assert all(isinstance(array, np.ndarray) for array in stores.read_arrays(content).values())
    except ValueError as error:
        assert str(error).isprintable()


def test_what_is_written_as_json_has_no_nan() -> None:
    said = {"a": [float("nan"), np.float32("inf"), np.int64(3), (True, None)], 1: {"b": np.float32(0.5)}}
    assert read_json(stores.json_bytes(said)) == {"a": [None, None, 3, [True, None]], "1": {"b": 0.5}}
