"""What `--exact` sets, on processors and on GPUs."""

import pytest

from mbrl import process


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ("PJRT_NPROC", "XLA_FLAGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(process.os, "cpu_count", lambda: 8)


@pytest.mark.parametrize("accelerated", [False, True])
def test_threads_are_shared_unless_exact(monkeypatch, accelerated):
    monkeypatch.setattr(process, "is_accelerated", lambda: accelerated)
    assert process.environment(exact=False, workers=2)["PJRT_NPROC"] == "4"
    exact = process.environment(exact=True, workers=2)
    assert exact["PJRT_NPROC"] == ("4" if accelerated else "1")
    assert ("deterministic" in exact.get("XLA_FLAGS", "")) == accelerated


def test_what_the_user_set_is_kept_but_not_where_bits_hang_on_it(monkeypatch):
    monkeypatch.setattr(process, "is_accelerated", lambda: False)
    monkeypatch.setenv("PJRT_NPROC", "3")
    assert process.environment(exact=False, workers=1)["PJRT_NPROC"] == "3"
    assert process.environment(exact=True, workers=1)["PJRT_NPROC"] == "1"
