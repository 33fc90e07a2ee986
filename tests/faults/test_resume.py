"""Stopped and gone on with equals not stopped, bit for bit; and so do other devices, hosts, lanes and neighbours."""

import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import envs  # noqa: F401  (before JAX starts)
from mbrl import interrupt
from mbrl.configs import Options
from mbrl.experiments.work import attempt
from mbrl.store import Store, read_arrays
from mbrl.trials import Training
from tests.faults.driver import small_trial

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(trial: Training, root: Path, stop_at: int | None = None) -> str | None:
    """Compute a trial; ask to stop at the report of that number. Returns the digest, None if it was stopped."""
    reports = 0

    def report(text: str) -> None:
        nonlocal reports
        reports += "steps" in text
        if stop_at is not None and reports >= stop_at:
            interrupt._asked.set()

    try:
        return attempt(Store(root), trial, Options(save_every=0), report).digest
    except interrupt.Stopped:
        return None
    finally:
        interrupt._asked.clear()


@pytest.mark.parametrize("agent", ["ppo", "local+exact"])
def test_five_random_cuts_change_no_bit(agent, tmp_path):
    trial = small_trial(3, agent, num_seeds=3, width=2)
    whole = run(trial, tmp_path / "whole")
    rng, chunks = random.Random(agent), 2 * (trial.learner.num_updates // trial.learner.chunk)
    for cut in sorted(rng.sample(range(1, chunks), 5)):
        root = tmp_path / str(cut)
        assert run(trial, root, stop_at=cut) is None, "it was stopped"
        left = {Store(root).verify(name).config["task"] for name in Store(root).names()}
        assert left == {"traininglevels"} and list((root / "work").iterdir())
        assert run(trial, root) == whole, f"after a cut at chunk {cut} of {chunks}"
    stepwise = tmp_path / "stepwise"  # and stopped again and again
    while (digest := run(trial, stepwise, stop_at=2)) is None:
        pass
    assert digest == whole


def weights(root: Path, trial: Training) -> dict[str, np.ndarray]:
    return read_arrays(Store(root).verify(trial.identity).read("weights.safetensors"))


@pytest.mark.parametrize("agent", ["ppo", "local+exact"])
def test_a_seed_is_the_same_in_any_lane_and_order_and_when_seeds_are_added(agent, tmp_path):
    """The seeds' digests of experience differ in length, so that neighbours also change how far a lane is padded."""
    base = small_trial(3, agent, num_seeds=3, width=2)
    others = {
        "reversed": replace(base, seeds=base.seeds[::-1]),
        "alone": replace(base, seeds=(4,), rates=base.rates[:1]),
        "more": replace(base, seeds=(9, 3, 8, 4, 7), rates=base.rates[:1] * 5),
    }
    run(base, tmp_path / "base")
    found = weights(tmp_path / "base", base)
    for name, trial in others.items():
        run(trial, tmp_path / name)
        again = weights(tmp_path / name, trial)
        for seed in set(base.seeds) & set(trial.seeds):
            for key, array in found.items():
                mine, theirs = array[base.seeds.index(seed)], again[key][trial.seeds.index(seed)]
                np.testing.assert_array_equal(mine, theirs, f"{name}: seed {seed}, {key}")


TRAIN = "scripts/train.py ppo production --num-seeds 8 --width 1 --num-levels 4 --steps 16384 --exact"
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}


def train(root: Path, *words: str, variables: dict[str, str] | None = None) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *TRAIN.split(), "--runs", str(root), *words],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | (variables or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def digest_of(root: Path, *processes: subprocess.Popen) -> str:
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    store = Store(root)
    (trained,) = (each for each in map(store.verify, store.names()) if each.config["task"] == "training")
    return trained.digest


def test_eight_devices_and_two_hosts_give_the_bits_of_one(tmp_path):
    """A processor that acts as eight devices has eight threads, which changes bits by itself: all of them, or one."""
    first = digest_of(tmp_path / "first", train(tmp_path / "first", variables=EIGHT))
    assert digest_of(tmp_path / "eight", train(tmp_path / "eight", "--devices", "8")) == first
    one = digest_of(tmp_path / "one", train(tmp_path / "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["--devices", "2", "--distributed", "--address", address, "--num-processes", "2", "--process"]
    hosts = [train(tmp_path / "two", *words, str(i)) for i in range(2)]
    assert digest_of(tmp_path / "two", *hosts) == one
