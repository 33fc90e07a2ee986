"""Killed without warning, at random instants and at every step of a commit, a sweep loses and doubles nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mbrl.plain import identity
from mbrl.store import Store
from tests.faults.driver import all_names

ROOT = Path(__file__).parents[2]
COUNT, KILLS, MORE_KILLS = 24, 50, 10
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def start(root: Path, cache: Path, backend: str = "local", parallel: int = 2, count: int = COUNT) -> subprocess.Popen:
    """Start the driver as the leader of a process group of its own."""
    command = [sys.executable, "-m", "tests.faults.driver", str(root), str(count), backend, str(parallel)]
    variables = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),  # so that a start takes seconds and kills meet work, not compilation
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def finish(root: Path, cache: Path, **options) -> list[str]:
    """Run the driver to its end; return its lines of digests."""
    output, _ = (process := start(root, cache, **options)).communicate()
    assert process.returncode == 0, output
    return [line for line in output.splitlines() if line.startswith("digest")]


def kill_after(process: subprocess.Popen, seconds: float) -> bool:
    """Kill the whole process group after some time; tell whether it was still at work."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def finished(root: Path) -> dict[str, tuple[int, str]]:
    """Return inode and digest of every finished trial, each of them verified."""
    store = Store(root)
    return {name: ((store.trials / name).stat().st_ino, store.verify(name).digest) for name in store.names()}


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache) -> tuple[list[str], float]:
    """The digests of an uninterrupted run, and how long it takes when nothing needs compiling."""
    finish(tmp_path_factory.mktemp("first") / "runs", cache)
    begun = time.monotonic()
    digests = finish(tmp_path_factory.mktemp("second") / "runs", cache)
    return digests, time.monotonic() - begun


def test_kills_at_random_instants_lose_and_double_nothing(tmp_path, cache, undisturbed):
    digests, seconds = undisturbed
    rng, kills, lost, doubled = random.Random(0), 0, 0, 0
    round_number, known = 0, {}
    root = tmp_path / "runs-0"

    def look() -> None:
        nonlocal lost, doubled, known
        now = finished(root)
        lost += sum(name not in now for name in known)
        doubled += sum(now[name] != what for name, what in known.items() if name in now)
        known = now

    while kills < KILLS + MORE_KILLS:
        killed = kill_after(start(root, cache), rng.uniform(0.5, 0.6 * seconds))
        kills += killed
        look()
        if not killed and kills < KILLS:  # It came to its end: begin another, the last of them being resumed below.
            assert set(known) == all_names(COUNT)
            round_number, known = round_number + 1, {}
            root = tmp_path / f"runs-{round_number}"
    assert finish(root, cache) == digests
    look()
    assert set(known) == all_names(COUNT)
    assert sorted(os.listdir(root / "work")) == []
    print(f"{kills} kills in {round_number + 1} sweeps of {COUNT} trials: {lost} lost, {doubled} doubled")
    assert (lost, doubled) == (0, 0)


COMMIT = """
import os, signal, sys
from pathlib import Path
from mbrl import files
from mbrl.plain import identity
from mbrl.store import Store
from tests.faults.test_kills import CONTENTS, NAME, CONFIG
root, at = Path(sys.argv[1]), int(sys.argv[2])
seen = 0
def counted(operation, *arguments):
    global seen
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
    seen += 1
    return operation(*arguments)
files._do = counted
store = Store(root)
with store.claim(NAME) as mine:
    assert mine
    if not store.has(NAME):
        store.commit(NAME, CONFIG, {}, CONTENTS)
print(seen)
"""
CONFIG, CONTENTS = {"a": 1}, {"one.json": b"1", "two.bin": bytes(5000), "record.json": b"{}"}
NAME = identity(CONFIG, {})


def commit(root: Path, at: int) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", COMMIT, str(root), str(at)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)


def test_a_kill_at_every_file_operation_of_a_commit_leaves_all_or_nothing(tmp_path):
    whole = commit(tmp_path / "whole", -1)
    operations = int(whole.stdout)
    expected = finished(tmp_path / "whole")[NAME][1]
    outcomes = []
    for at in range(operations):
        root = tmp_path / str(at)
        assert commit(root, at).returncode == -signal.SIGKILL
        outcomes.append(len(finished(root)))
        assert commit(root, -1).returncode == 0
        assert {digest for _, digest in finished(root).values()} == {expected}
        assert os.listdir(root / "work") == []
    print(f"{operations} operations: finished before the kill in {sum(outcomes)}, not begun or undone in the others")
    assert 0 in outcomes and 1 in outcomes


def test_a_killed_ray_worker_is_retried_and_every_backend_gives_the_same_digests(tmp_path, cache, undisturbed):
    expected, tokens = undisturbed[0][:6], Path.home() / ".ray" / "auth_token"
    before = tokens.read_bytes() if tokens.exists() else None
    assert finish(tmp_path / "slurm", cache, backend="slurm", count=6) == expected
    process = start(tmp_path / "ray", cache, backend="ray", count=6)
    while not list((tmp_path / "ray").glob("work/*/checkpoints-0/*.json")):
        time.sleep(0.05)
        assert process.poll() is None
    (first,) = subprocess.run(
        ["pgrep", "-o", "-f", "ray::<lambda>"], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(first), signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert [line for line in output.splitlines() if line.startswith("digest")] == expected
    assert (tokens.read_bytes() if tokens.exists() else None) == before
