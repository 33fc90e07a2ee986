"""The learning curve: rows that came after a mark are cut, NaN is null, and TensorBoard shows every row once."""

import json
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbrl.metrics import Curve, TensorBoard, by_lane, read_rows
from tests import faults


class Listener:
    def __init__(self) -> None:
        self.heard: list = []

    def write(self, rows) -> None:
        self.heard += rows

    def close(self) -> None: ...


def row(step: int, loss: float | None = 0.5, lane: int = 0) -> dict:
    return {"step": step, "lane": lane, "seed": 7 + lane, "loss": loss}


def test_rows_after_the_mark_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "work" / "metrics.jsonl"
    curve = Curve(path)
    start = curve.mark()
    curve.write([row(1), row(2)])
    mark, content = curve.mark(), path.read_bytes()
    curve.write([row(3, 1e9), row(4)])
    with open(path, "ab") as file:
        file.write(b'{"step": 5, "los')  # as a process leaves it that dies

    listener = Listener()
    again = Curve(path, [listener])
    again.cut(*mark)
    again.write([row(3)])
    assert path.read_bytes().startswith(content)
    assert read_rows(path.read_bytes()) == [row(1), row(2), row(3)] and listener.heard == [row(3)]

    again.cut(*start)
    again.write([row(9)])
    assert read_rows(path.read_bytes()) == [row(9)]
    fresh = Curve(path)
    fresh.write([row(10)])
    assert read_rows(path.read_bytes()) == [row(10)], "without a mark the curve begins anew"


def test_a_mark_holds_only_for_the_rows_before_it(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "metrics.jsonl")
    curve.write([row(step) for step in range(9)])
    mark, before = curve.mark(), curve.path.read_bytes()
    curve.write([row(9)])
    faults.flip(curve.path, 0.999)  # after the mark
    Curve(curve.path).cut(*mark)
    for damage in (lambda p: faults.flip(p, 0.3), lambda p: p.write_bytes(before[:-1]), lambda p: p.write_bytes(b"")):
        damage(curve.path)
        again = Curve(curve.path)
        with pytest.raises(ValueError, match=r"metrics\.jsonl was changed"):
            again.cut(*mark)
        assert again.cursor == 0
        curve.path.write_bytes(before)
    curve.path.unlink()
    with pytest.raises(FileNotFoundError):
        again.cut(*mark)


NUMBERS = st.none() | st.integers(-(2**60), 2**60) | st.floats()


@given(st.lists(st.dictionaries(st.sampled_from(["loss", "return", "length"]), NUMBERS), max_size=4))
def test_every_number_comes_back_and_nan_is_null(tmp_path_factory: pytest.TempPathFactory, values: list[dict]) -> None:
    path = tmp_path_factory.getbasetemp() / "metrics.jsonl"
    Curve(path).write([row(step) | numbers for step, numbers in enumerate(values)])
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text and text.count("\n") == len(values)
    plain = {float("inf"): None, float("-inf"): None}
    wanted = [row(step) | numbers for step, numbers in enumerate(values)]
    wanted = [{k: None if v != v or v in plain else v for k, v in one.items()} for one in wanted]
    assert read_rows(path.read_bytes()) == wanted


def test_by_lane_sorts_lanes_and_then_steps() -> None:
    rows = [row(step, 1 / (1 + step + lane), lane) for step in (2, 10, 100) for lane in (0, 1, 11)]
    lines = [json.dumps(one).encode() + b"\n" for one in rows]
    wanted = b"".join(sorted(lines, key=lambda line: (json.loads(line)["lane"], json.loads(line)["step"])))
    assert by_lane(b"".join(lines)) == wanted == by_lane(b"".join(reversed(lines))) != b"".join(lines)
    assert by_lane(b"") == b""


def shown(folder: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """Read event files as TensorBoard does: where a run began at a step, what was shown from there on is dropped."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events.*")):
        content, at, run = path.read_bytes(), 0, path.parent.name
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            at += length + 16
            if event.HasField("session_log"):
                for key in [key for key in found if key[0] == run]:
                    found[key] = [(step, value) for step, value in found[key] if step < event.step]
            for part in event.summary.value:
                found.setdefault((run, part.tag), []).append((event.step, part.simple_value))
    return found


def test_tensorboard_shows_every_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two groups of lanes one after the other; the second is interrupted and goes on from before its last rows."""
    begun = time.time()

    def show(number: int, *rows: dict) -> None:
        monkeypatch.setattr(time, "time", lambda: begun + 10 * number)  # Files are named by the second.
        board = TensorBoard(tmp_path)
        for one in rows:
            board.write([one])
        board.close()

    show(0, row(16, 1.0), row(32, 2.0), row(48, float("nan")), row(16, 1.5, lane=1), row(32, 99.0, lane=1))
    show(1, row(32, 2.5, lane=1), row(48, None, lane=1), row(64, 4.5, lane=1))
    found = shown(tmp_path)
    assert found == {
        ("lane 0, seed 7", "loss"): [(16, 1.0), (32, 2.0)],
        ("lane 1, seed 8", "loss"): [(16, 1.5), (32, 2.5), (64, 4.5)],
    }
