"""Every operation on files that the project's results depend on, so that each can be watched, and made to fail, here.

All go through `_do`, one system call at a time: a test that puts itself in its place sees the k-th one come and can let
it fail, or the process die. Nothing here knows what the files mean.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


def _do(operation: Callable[..., Any], *arguments: Any) -> Any:
    return operation(*arguments)


def read(path: Path) -> bytes:
    """Return the content of a file."""
    with open(path, "rb") as file:
        return file.read()


def write(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it; a crash may leave part of it (see `write_whole`)."""
    descriptor = _do(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[_do(os.write, descriptor, view) :]
        _do(os.fsync, descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, and an earlier one of its name until then."""
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(aside, content)
        rename(aside, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(aside)
        raise


def append(path: Path, content: bytes, at: int) -> int:
    """Cut a file after its first `at` bytes, write `content` there and return the new length."""
    descriptor = _do(os.open, path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        _do(os.ftruncate, descriptor, at)
        os.lseek(descriptor, at, os.SEEK_SET)
        view = memoryview(content)
        while view:
            view = view[_do(os.write, descriptor, view) :]
        _do(os.fsync, descriptor)
    finally:
        os.close(descriptor)
    return at + len(content)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, unless they are there."""
    if not path.is_dir():
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            _do(os.mkdir, path)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _do(os.fsync, descriptor)
    finally:
        os.close(descriptor)


def rename(old: Path, new: Path) -> None:
    """Give a file or folder another name, at once, and wait until the disk has it."""
    _do(os.rename, old, new)
    sync_folder(new.parent)


def make_read_only(path: Path) -> None:
    """Take the right to write to a file from everybody."""
    _do(os.chmod, path, 0o444)


def remove(path: Path) -> None:
    """Remove a file, or a folder and what is in it, if it is there; links are not followed."""
    if path.is_dir() and not path.is_symlink():
        for name in names_in(path):
            remove(path / name)
        with contextlib.suppress(FileNotFoundError):
            _do(os.rmdir, path)
    else:
        with contextlib.suppress(FileNotFoundError):
            _do(os.unlink, path)


def names_in(path: Path) -> list[str]:
    """Return the names in a folder, sorted; none if there is no such folder."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Hold a lock for as long as the block lasts, and say whether it was free; the kernel drops it if the process dies.

    The file is removed by whoever leaves the lock, while still holding it. Somebody may have opened it just before, so
    that a lock counts only if its file is still the one of that name.
    """
    make_folder(path.parent)
    while True:
        descriptor = _do(os.open, path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            try:
                same = os.path.samestat(os.fstat(descriptor), os.stat(path))
            except FileNotFoundError:
                same = False
            if same:
                try:
                    yield True
                finally:
                    remove(path)
                return
        finally:
            os.close(descriptor)
