"""Operations on files: each can be made to fail, what was there stays, and a lock has one holder, dead or alive."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl import files
from tests.faults import disk

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from mbrl import files
with files.lock(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    time.sleep(60 * mine)
"""


def test_whole_or_as_before(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "file"
    with disk() as all_of_it:
        files.write_whole(target, b"new" * 9)
    assert all_of_it.seen == [os.mkdir, os.mkdir, os.open, os.write, os.fsync, os.rename, os.fsync]
    for k in range(5):  # With the folders there, the fifth comes after the rename: the name may then be the new one's.
        files.write_whole(target, b"old")
        with disk(failing=k), pytest.raises(OSError, match="No space left"):
            files.write_whole(target, b"new")
        assert target.read_bytes() == (b"old" if k < 4 else b"new")
        assert os.listdir(target.parent) == ["file"], f"something is left when operation {k} fails"


def test_a_write_that_takes_part_of_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stingy(operation, *arguments):
        if operation is os.write:
            arguments = (arguments[0], arguments[1][:2])
        return operation(*arguments)

    monkeypatch.setattr(files, "_do", stingy)
    files.write(tmp_path / "file", b"0123456789")
    assert files.append(tmp_path / "file", b"abcde", at=7) == 12
    assert files.read(tmp_path / "file") == b"0123456abcde"


def test_append_cuts_what_came_later(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    assert files.append(path, b"one", at=0) == 3
    assert files.append(path, b"two, and more", at=3) == 16
    assert files.append(path, b"2", at=3) == 4
    assert path.read_bytes() == b"one2"
    with disk() as watched:
        files.append(path, b"3", at=4)
    assert watched.seen == [os.open, os.ftruncate, os.write, os.fsync]


def test_every_change_can_be_watched(tmp_path: Path) -> None:
    """Everything that changes a file goes through `_do`: a disk on which nothing works is left as it was."""
    (tmp_path / "file").write_bytes(b"content")
    path = tmp_path / "file"
    changes = {
        "write": lambda: files.write(path, b"x"),
        "write_whole": lambda: files.write_whole(path, b"x"),
        "append": lambda: files.append(path, b"x", 0),
        "make_folder": lambda: files.make_folder(tmp_path / "folder"),
        "sync_folder": lambda: files.sync_folder(tmp_path),
        "rename": lambda: files.rename(path, tmp_path / "other"),
        "make_read_only": lambda: files.make_read_only(path),
        "remove": lambda: files.remove(path),
        "lock": lambda: files.lock(tmp_path / "lock").__enter__(),
    }
    before = path.stat()
    for name, change in changes.items():
        with disk(failing=0), pytest.raises(OSError, match="No space left"):
            change()
        after = path.stat()
        assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (before.st_mode, before.st_mtime_ns, before.st_ino)
        assert os.listdir(tmp_path) == ["file"], name
    public = {name for name, item in vars(files).items() if getattr(item, "__module__", "") == "mbrl.files"}
    assert public - set(changes) == {"_do", "read", "names_in"}


def test_remove_follows_no_links(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    files.make_folder(outside)
    (outside / "precious").write_bytes(b"gold")
    files.make_folder(folder / "deep")
    (folder / "deep" / "file").touch(mode=0o444)
    (folder / "link").symlink_to(outside)
    (folder / "deep" / "file link").symlink_to(outside / "precious")
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "way in").symlink_to(outside)
    files.remove(folder)
    files.remove(tmp_path / "way in")
    files.remove(tmp_path / "never there")
    assert files.names_in(tmp_path) == ["outside"] and files.names_in(outside) == ["precious"]
    assert files.names_in(tmp_path / "never there") == []


def hold(path: Path) -> subprocess.Popen:
    """Start a process that tries the lock, says whether it got it, and keeps it."""
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def said(process: subprocess.Popen) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_process_holds_a_lock_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "work" / "trial.lock"
    crowd = [hold(path) for _ in range(4)]
    try:
        answers = [said(process) for process in crowd]
        assert sorted(answers) == ["False", "False", "False", "True"]
        holder = crowd[answers.index("True")]
        with files.lock(path) as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert path.exists(), "nobody cleaned up: this is what a killed process leaves"
        with files.lock(path) as mine:
            assert mine
            with files.lock(path) as again:
                assert not again
        assert not path.exists()
    finally:
        for process in crowd:
            process.kill()
            process.communicate()


def test_a_lock_ends_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), files.lock(path) as mine:
        assert mine and 1 / 0
    assert not path.exists()
    with files.lock(path) as mine:
        assert mine


def test_a_lock_on_a_removed_file_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another leaves the lock, and a third takes it anew, between our opening of the file and our locking of it."""
    path, others = tmp_path / "lock", []

    def flock(descriptor: int, how: int) -> None:
        if not others:
            path.unlink()
            others.append(os.open(path, os.O_RDWR | os.O_CREAT))
            real(others[0], fcntl.LOCK_EX)
        elif len(others) == 1:
            others.append(descriptor)
        real(descriptor, how)

    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", flock)
    with files.lock(path) as mine:
        assert not mine and len(others) == 2, "the lock on the file that is gone must not count"
    os.close(others[0])

    def gone(descriptor: int, how: int) -> None:
        if path.exists() and len(others) == 2:
            others.append(0)
            path.unlink()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", gone)
    with files.lock(path) as mine:
        assert mine and path.exists(), "the file must be one that others find"
