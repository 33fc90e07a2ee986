"""The learning curve as it grows: one JSON object per line, and whatever else wants to see it.

A row has `step`, `lane`, `seed` and numbers. The file's length is part of a checkpoint (the cursor): going on from it
cuts off the rows that came later, so that nothing is counted twice. TensorBoard and W&B are told each row as well; they
are for watching, the file is the record.
"""

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

    def cut(self, cursor: int) -> None:
        """Go back to where the file was `cursor` bytes long.

        Raises:
            ValueError: it is shorter than that.
        """
        length = self.path.stat().st_size if self.path.exists() else 0
        if length < cursor:
            raise ValueError(f"{self.path}: expected at least {cursor} bytes, got {length}")
        self.cursor = cursor

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


class TensorBoard:
    """Event files that TensorBoard shows, by seed and metric."""

    def __init__(self, folder: Path):
        from tensorboardX import SummaryWriter

        self._make: Any = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._writer: Any = None

    def write(self, rows: Sequence[Row]) -> None:
        """Show rows; those that an earlier, interrupted run showed from here on are taken back."""
        if self._writer is None:
            self._writer = self._make(int(rows[0]["step"] or 0))
        for row in rows:
            for name, value in row.items():
                if name not in ("step", "lane", "seed") and value is not None:
                    self._writer.add_scalar(f"{name}/seed {row['seed']}", value, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        if self._writer is not None:
            self._writer.close()


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
            numbers = {f"{name}/seed {row['seed']}": value for name, value in row.items() if name not in _PLACE}
            self._run.log({**numbers, "step": row["step"]})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


_PLACE = ("step", "lane", "seed")
