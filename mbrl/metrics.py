"""The learning curve as it grows: one JSON object per line, and whatever else wants to see it.

A row has `step`, `lane`, `seed` and numbers. The file's length and hash are part of a checkpoint (the mark): going on
from it cuts off the rows that came later, so that nothing is counted twice. TensorBoard and W&B are told each row as
well; they are for watching, the file is the record.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from mbrl import files

Row = dict[str, float | int | None]


class Watcher(Protocol):
    """Somebody who is told of rows."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take note of rows."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class Curve:
    """The metrics file of a trial under way."""

    def __init__(self, path: Path, watchers: Sequence[Watcher] = ()):
        self.path, self.cursor, self._watchers = path, 0, watchers
        files.make_folder(path.parent)

    def mark(self) -> tuple[int, str]:
        """Return how long the file is, and its hash."""
        return self.cursor, hashlib.sha256(self._beginning(self.cursor)).hexdigest()

    def cut(self, cursor: int, digest: str) -> None:
        """Go back to a mark.

        Raises:
            ValueError: the rows up to there are missing or were changed.
        """
        if hashlib.sha256(self._beginning(cursor)).hexdigest() != digest:
            raise ValueError(f"{self.path.name} was changed")
        self.cursor = cursor

    def _beginning(self, cursor: int) -> bytes:
        return files.read(self.path)[:cursor] if cursor else b""

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows."""
        text = "".join(json.dumps(_finite(row), allow_nan=False) + "\n" for row in rows)
        self.cursor = files.append(self.path, text.encode(), self.cursor)
        for watcher in self._watchers:
            watcher.write(rows)


def _finite(row: Row) -> Row:
    return {name: value if value is None or math.isfinite(value) else None for name, value in row.items()}


def read_rows(content: bytes) -> list[Row]:
    """Return the rows of a metrics file."""
    return [json.loads(line) for line in content.decode().splitlines()]


def by_lane(content: bytes) -> bytes:
    """Sort the rows of a metrics file by lane and step: their order depends on how many lanes ran at once."""
    lines = content.splitlines(keepends=True)
    order = [(row["lane"], row["step"]) for row in read_rows(content)]
    return b"".join(line for _, line in sorted(zip(order, lines, strict=True)))


class TensorBoard:
    """Event files that TensorBoard shows, a run for every lane."""

    def __init__(self, folder: Path):
        from tensorboardX import SummaryWriter

        self._make: Any = lambda lane, step: SummaryWriter(str(folder / lane), purge_step=step)
        self._writers: dict[str, Any] = {}

    def write(self, rows: Sequence[Row]) -> None:
        """Show rows; those of a lane that an earlier, interrupted run showed from here on are taken back."""
        for row in rows:
            lane = _lane(row)
            if lane not in self._writers:
                self._writers[lane] = self._make(lane, int(row["step"] or 0))
            for name, value in row.items():
                if name not in _PLACE and value is not None and math.isfinite(value):
                    self._writers[lane].add_scalar(name, value, row["step"])
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        for writer in self._writers.values():
            writer.close()


class WandB:
    """A run of Weights & Biases, offline unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, name: str, config: dict):
        try:
            import wandb
        except ImportError:
            raise ValueError("wandb: expected the extra `wandb` to be installed: pip install -e '.[wandb]'") from None
        import os

        files.make_folder(folder)
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run: Any = wandb.init(project="paperclip-mbrl", name=name, dir=str(folder), config=config, mode=mode)

    def write(self, rows: Sequence[Row]) -> None:
        """Send rows."""
        for row in rows:
            numbers = {f"{name}/{_lane(row)}": value for name, value in row.items() if name not in _PLACE}
            self._run.log({**numbers, "step": row["step"]})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


_PLACE = ("step", "lane", "seed")


def _lane(row: Row) -> str:
    return f"lane {row['lane']}, seed {row['seed']}"
