"""Several launchers on one folder, a disk that is full or read-only, thousands of trials."""

import gc
import os
import pathlib
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import pytest

from mbrl import inventory
from mbrl.configs import VERSIONS
from mbrl.experiments import EXPERIMENTS
from mbrl.experiments.run import open_folder
from mbrl.plain import identity
from mbrl.store import RECORD, Store, json_bytes
from tests.faults.driver import small_trials
from tests.faults.test_kills import ROOT, cache, finish, finished, start, undisturbed  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LAUNCHERS, STARTS, TRIALS = 8, 20, 12
LAUNCH = """
import os, random, sys, time
from pathlib import Path
import envs
from mbrl.configs import Options
from mbrl.experiments import work
from mbrl.sweep import work_through
from tests.faults.driver import small_trials
root, log, number, at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
def compute(store, trial, options, report):
    with open(log, "a") as file:
        file.write(trial.identity + "\\n")
    time.sleep(random.random() / 20)
    return {"one.json": b"{}", "record.json": str(os.getpid()).encode()}
work.compute = compute
time.sleep(max(0, at - time.time()))                      # all launchers begin at once
work_through(root, small_trials(12), Options(), lambda message: None, random.randrange(12))
"""


def test_eight_launchers_share_the_work_and_compute_each_trial_once(tmp_path):
    wrong = 0
    for number in range(STARTS):
        root, log, at = tmp_path / str(number), tmp_path / f"{number}.log", time.time() + 20
        launchers = [
            subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(root), str(log), str(i), str(at)],
                cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True,
            )
            for i in range(LAUNCHERS)
        ]  # fmt: skip
        for launcher in launchers:
            _, errors = launcher.communicate()
            assert launcher.returncode == 0, errors
        computed = log.read_text().split()
        wrong += sorted(computed) != sorted(trial.identity for trial in small_trials(TRIALS))
        wrong += len(finished(root)) != TRIALS or os.listdir(root / "work") != []
    print(f"{STARTS} starts of {LAUNCHERS} launchers with {TRIALS} trials: {wrong} with a trial not computed once")
    assert wrong == 0


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(
            f"a full disk needs a file system of 1 MiB, and mounting one is refused here: {done.stderr.strip()}"
        )
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


def test_a_full_disk_stops_a_sweep_and_nothing_is_corrupt(small_disk, cache, undisturbed):  # noqa: F811
    root = small_disk / "runs"
    output, _ = (process := start(root, cache)).communicate()
    assert process.returncode not in (0, None) and "No space left" in output, output
    before = finished(root)
    remount(small_disk, "size=1g")
    assert finish(root, cache) == undisturbed[0]
    assert before.items() <= finished(root).items() and os.listdir(root / "work") == []


def test_a_read_only_folder_stops_a_sweep_and_nothing_is_lost(small_disk, cache, undisturbed):  # noqa: F811
    remount(small_disk, "size=1g")
    root = small_disk / "runs"
    finish(root, cache, count=6)
    before = finished(root)
    remount(small_disk, "ro")
    output, _ = (process := start(root, cache)).communicate()
    assert process.returncode not in (0, None) and "Read-only file system" in output, output
    assert finished(root) == before
    remount(small_disk, "rw")
    assert finish(root, cache) == undisturbed[0]
    assert before.items() <= finished(root).items()


def test_a_launcher_with_other_settings_is_refused_in_one_line(tmp_path):
    (out := tmp_path / "out").mkdir()
    open_folder(EXPERIMENTS["demo"], out)
    words = f"scripts/sweep.py demo --num-seeds 5 --runs {tmp_path} --out {out}"
    command = [sys.executable, *words.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "num_seeds: 4 there, 5 here" in done.stderr and sorted(os.listdir(out)) == ["experiment.json"]


def test_ten_thousand_trials_are_listed_in_ten_seconds_with_flat_memory(tmp_path):
    store, record = Store(tmp_path / "runs"), json_bytes({"label": "x", "seconds": {}})
    trial = small_trials(1)[0]
    for number in range(10_000):
        config = {**trial.config, "seeds": [number]}
        name = identity(config, VERSIONS)
        with store.claim(name):
            store.commit(name, config, VERSIONS, {"lanes.json": json_bytes([{"seed": number}]), RECORD: record})
    begun = time.monotonic()
    states = [entry.state for entry in inventory.entries(store)]
    listing = time.monotonic() - begun
    begun = time.monotonic()
    total = sum(store.verify(name).read_json("lanes.json")[0]["seed"] for name in store.names())
    aggregation = time.monotonic() - begun
    held = []
    interned = tracemalloc.Filter(False, pathlib.__file__)  # for pathlib Python interns names, in one table
    tracemalloc.start()
    for number, entry in enumerate(inventory.entries(store)):
        del entry
        if number in (1000, 9000):
            gc.collect()
            held.append(sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([interned]).traces))
    tracemalloc.stop()
    print(f"10,000 trials: listed in {listing:.1f} s, aggregated in {aggregation:.1f} s, memory {held} bytes")
    assert states == ["finished"] * 10_000 and total == sum(range(10_000))
    assert listing < 10 and aggregation < 10 and held[1] < 1.5 * held[0]
