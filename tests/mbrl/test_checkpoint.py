"""Checkpoints come back bit for bit, two are kept, and one that was touched anywhere is named and passed over."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl import files
from mbrl.checkpoint import Checkpoints, Parts
from tests import faults

NOTES = {"cursor": 2**40 + 1, "first_bad": [-1, 3], "counts": [{"ticks": 2**53 - 1}, {}], "rows": [0, "ü"]}


def make_state(number: int) -> dict:
    """A state with everything that a learner has: keys, flags, bytes, NaNs with their bits, and places with nothing."""
    floats = np.random.default_rng(number).integers(0, 2**32, (3, 5), np.uint32).view(np.float32)
    floats[0, :2] = np.nan, -0.0
    return {
        "key": jax.random.key(number),
        "keys": jax.random.split(jax.random.key(number), (2, 3)),
        "weights": {"w": jnp.asarray(floats), "b": jnp.float32(number)},
        "flags": jnp.arange(number, number + 9) % 2 == 0,
        "bytes": jnp.arange(number, number + 7, dtype=jnp.uint8),
        "counts": (jnp.int32(number), (), None),
    }


def bits(state) -> list:
    leaves = [jax.random.key_data(leaf) if "key" in str(leaf.dtype) else leaf for leaf in jax.tree.leaves(state)]
    return [(str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes()) for leaf in leaves]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of steps 8 and 16, made once."""
    folder = tmp_path_factory.mktemp("template") / "checkpoints"
    for step in (8, 16):
        Checkpoints(folder).save(step, make_state(step), NOTES | {"step": step})
    return folder


@pytest.fixture
def checkpoints(template: Path, tmp_path: Path) -> tuple[Checkpoints, list[str]]:
    shutil.copytree(template, tmp_path / "checkpoints")
    said: list[str] = []
    return Checkpoints(tmp_path / "checkpoints", said.append), said


def assert_restores(checkpoints: Checkpoints, step: int) -> None:
    found = checkpoints.restore(make_state(0))
    assert found is not None and found[0] == step and found[2] == NOTES | {"step": step}
    assert jax.tree.structure(found[1]) == jax.tree.structure(make_state(step))
    assert bits(found[1]) == bits(make_state(step))


def test_all_comes_back_bit_for_bit(checkpoints) -> None:
    assert_restores(checkpoints[0], 16)
    assert checkpoints[1] == []
    key = checkpoints[0].restore(make_state(0))[1]["key"]
    assert key.dtype == jax.random.key(0).dtype and jax.random.bits(key) == jax.random.bits(jax.random.key(16))
    assert Checkpoints(checkpoints[0].folder / "nowhere").restore(make_state(0)) is None


def test_two_are_kept(checkpoints) -> None:
    kept, _ = checkpoints
    for step, left in ((24, [16, 24]), (24, [16, 24]), (100, [24, 100])):
        kept.save(step, make_state(step), NOTES | {"step": step})
        assert kept.steps() == left
        assert files.names_in(kept.folder) == sorted(name for step in left for name in (str(step), f"{step}.json"))
        assert_restores(kept, step)


def test_going_back_gives_up_what_came_later(checkpoints) -> None:
    """Checkpoints that were passed over must not push out the good ones that are made from then on."""
    kept, _ = checkpoints
    for path in (kept.folder / "8.json", kept.folder / "16.json"):
        faults.flip(path, 0.5)
    assert kept.restore(make_state(0)) is None
    kept.save(2, make_state(2), NOTES | {"step": 2})
    assert kept.steps() == [2]
    kept.save(4, make_state(4), NOTES | {"step": 4})
    faults.flip(kept.folder / "4.json", 0.5)
    assert_restores(kept, 2)


def files_of(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name.startswith("16"))


def test_a_damage_anywhere_is_named_and_the_one_before_is_used(checkpoints) -> None:
    kept, said = checkpoints
    names = files_of(kept.folder)
    assert "16.json" in names and len(names) > 4
    for name in names:
        path = kept.folder / name
        whole = path.read_bytes()
        for damage in (lambda p: faults.flip(p, 0.6), faults.truncate, lambda p: p.unlink()):
            damage(path)
            if name == "16.json" and not path.exists():  # Without its seal a checkpoint is one that was not finished.
                assert kept.steps() == [8]
            else:
                assert kept.restore(make_state(0))[0] == 8
                line = said.pop()
                file = name.removeprefix("16/")
                assert str(kept.folder / "16") in line and f"({file} was changed)" in line and line.isprintable()
            path.write_bytes(whole)
    (kept.folder / "16" / "more").touch()
    assert_restores(kept, 8)
    assert "more was changed" in said.pop() and not said
    (kept.folder / "16" / "more").unlink()
    assert_restores(kept, 16)


def test_nothing_is_used_that_is_damaged(checkpoints) -> None:
    kept, said = checkpoints
    for step in (8, 16):
        faults.truncate(kept.folder / f"{step}.json")
    assert kept.restore(make_state(0)) is None and len(said) == 2


def test_a_seal_that_was_changed_does_not_count(checkpoints) -> None:
    kept, said = checkpoints
    seal = kept.folder / "16.json"
    body = json.loads(seal.read_bytes())
    for text in (
        json.dumps(body | {"notes": body["notes"] | {"cursor": 0}}).encode(),
        json.dumps(body | {"files": {}}).encode(),
        (kept.folder / "8.json").read_bytes(),
        b"[" * 100_000, b"null", b"[]", b"\xff", b"", b"9" * 5000,
    ):  # fmt: skip
        seal.write_bytes(text)
        assert_restores(kept, 8)
        assert "was changed" in said.pop()


def test_an_unfinished_save_is_no_checkpoint(checkpoints) -> None:
    """What a process leaves that dies at any moment of saving, and the save that follows."""
    kept, said = checkpoints
    for leftover in ("24", "24.orbax-checkpoint-tmp", "24.orbax-checkpoint-tmp-1"):
        shutil.copytree(kept.folder / "16", kept.folder / leftover)
    (kept.folder / ".24.json.123").write_bytes(b"{")
    assert kept.steps() == [8, 16]
    assert_restores(kept, 16)
    kept.save(24, make_state(24), NOTES | {"step": 24})
    assert_restores(kept, 24)
    assert not said


def test_a_save_that_fails_anywhere_leaves_a_checkpoint(template: Path, checkpoints) -> None:
    kept, said = checkpoints
    with faults.disk() as watched:
        kept.save(24, make_state(24), NOTES | {"step": 24})
    newest = []
    for k in range(len(watched.seen)):
        shutil.rmtree(kept.folder)
        shutil.copytree(template, kept.folder)
        with faults.disk(failing=k), pytest.raises(OSError, match="No space"):
            kept.save(24, make_state(24), NOTES | {"step": 24})
        newest.append(kept.steps()[-1])
        assert_restores(kept, newest[-1])
    assert set(newest) == {16, 24} and newest == sorted(newest) and not said


@pytest.mark.parametrize("change", ["shape", "dtype", "more", "fewer", "keys"])
def test_a_state_of_another_kind_is_refused(checkpoints, change: str) -> None:
    like = make_state(0)
    match change:
        case "shape":
            like["weights"]["w"] = jnp.zeros((5, 3))
        case "dtype":
            like["bytes"] = like["bytes"].astype(jnp.int8)
        case "more":
            like["zz"] = jnp.zeros(2)
        case "fewer":
            del like["flags"]
        case "keys":
            like["keys"] = like["keys"][0]
    assert checkpoints[0].restore(like) is None
    assert len(checkpoints[1]) == 2 and all(line.isprintable() for line in checkpoints[1])


def test_notes_that_do_not_hold_any_more_send_back(checkpoints) -> None:
    def check(notes: dict) -> None:
        if notes["step"] == 16:
            raise ValueError("rows are missing")

    assert checkpoints[0].restore(make_state(0), check)[0] == 8
    assert "rows are missing" in checkpoints[1][0]


def test_a_part_is_made_once_unless_it_is_damaged(tmp_path: Path) -> None:
    said, made = [], []
    parts = Parts(tmp_path / "trial", said.append)

    def work() -> bytes:
        made.append(0)
        return b"content"

    assert parts.get("part") is None and not said
    for _ in range(2):
        assert parts.make("part", work) == b"content" == parts.get("part")
    assert len(made) == 1
    path = tmp_path / "trial" / "part"
    for number, damage in enumerate(
        (lambda p: faults.flip(p, 0), lambda p: faults.flip(p, 1), faults.truncate, lambda p: p.write_bytes(b""))
    ):
        damage(path)
        assert parts.get("part") is None and str(path) in said[-1] and "damaged" in said[-1]
        assert parts.make("part", work) == b"content" == parts.get("part") and len(made) == 2 + number
    with faults.disk(failing=1), pytest.raises(OSError):
        parts.put("part", b"other")
    assert parts.get("part") == b"content"
    parts.put("empty", b"")
    assert parts.get("empty") == b""
