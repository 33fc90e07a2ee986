"""A disk that fails at the k-th operation, and damages that a stored file can suffer."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mbrl import files

FULL = OSError(errno.ENOSPC, "No space left on device")


class Disk:
    """What stands in for `files._do`: it remembers the operations and lets the one of number `failing` fail."""

    def __init__(self, failing: int | None, error: BaseException):
        self.failing, self.error, self.seen = failing, error, []

    def __call__(self, operation: Callable, *arguments):
        self.seen.append(operation)
        if len(self.seen) - 1 == self.failing:
            raise self.error
        return operation(*arguments)


@contextlib.contextmanager
def disk(failing: int | None = None, error: BaseException = FULL) -> Iterator[Disk]:
    """Watch the operations on files within the block, and let one of them fail."""
    with pytest.MonkeyPatch.context() as patch:
        watched = Disk(failing, error)
        patch.setattr(files, "_do", watched)
        yield watched


def overwrite(path: Path, content: bytes) -> None:
    """Write to a file whatever its rights are."""
    path.chmod(0o644)
    path.write_bytes(content)


def flip(path: Path, at: float, bit: int = 0) -> None:
    """Turn over one bit of a file, at a share of its length."""
    content = bytearray(path.read_bytes())
    content[min(int(at * len(content)), len(content) - 1)] ^= 1 << bit
    overwrite(path, bytes(content))


def truncate(path: Path) -> None:
    """Cut off a file's last byte."""
    overwrite(path, path.read_bytes()[:-1])


def zero(path: Path) -> None:
    """Fill the middle of a file with zeros, as a lost block would."""
    content = path.read_bytes()
    quarter = max(1, len(content) // 4)
    overwrite(path, content[:quarter] + bytes(quarter) + content[2 * quarter :])


def swap(one: Path, other: Path) -> None:
    """Exchange two files or folders."""
    aside = one.with_name("aside")
    os.rename(one, aside)
    os.rename(other, one)
    os.rename(aside, other)
