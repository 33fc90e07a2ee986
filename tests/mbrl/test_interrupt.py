"""Stopping politely: a signal asks, work stops where it can save, and a second Ctrl-C does not wait."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mbrl import interrupt
from mbrl.cli import one_line_errors

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_asks_to_stop(number: int) -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with interrupt.listening():
        interrupt.check()
        assert not interrupt.asked()
        send(number)
        assert interrupt.asked()
        for _ in range(2):  # It stays so, whoever looks.
            with pytest.raises(interrupt.Stopped):
                interrupt.check()
    assert not interrupt.asked() and [signal.getsignal(one) for one in SIGNALS] == before
    interrupt.check()


def test_only_a_second_ctrl_c_does_not_wait() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with pytest.raises(KeyboardInterrupt), interrupt.listening():
        for number in (signal.SIGTERM, signal.SIGTERM):
            send(number)
        send(signal.SIGINT)
        pytest.fail("Ctrl-C was ignored")
    assert not interrupt.asked() and [signal.getsignal(one) for one in SIGNALS] == before


def test_what_was_asked_before_does_not_count() -> None:
    with interrupt.listening():
        send(signal.SIGTERM)
    with interrupt.listening():
        assert not interrupt.asked()
        with pytest.raises(ZeroDivisionError), interrupt.listening():
            1 / 0  # noqa: B018
        send(signal.SIGINT)  # The handlers of the outer block are back.
        assert interrupt.asked()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (interrupt.Stopped(), 75, "stopped: what is finished is saved, and the same command goes on\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (ValueError("two\nlines"), 2, "error: two lines\n"),
    ],
)
def test_the_exit_status_says_how_it_ended(capsys, error: BaseException, status: int, line: str) -> None:
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise error
    assert stop.value.code == status and capsys.readouterr().err == line
    assert interrupt.EXIT_STATUS == 75


PROGRAM = """
import time
from mbrl import interrupt
from mbrl.cli import one_line_errors
with one_line_errors(), interrupt.listening():
    print("works", flush=True)
    for _ in range(600):
        time.sleep(0.05)
        interrupt.check()
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_program_ends_with_75(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as program:
        assert program.stdout.readline() == "works\n"
        program.send_signal(number)
        _, said = program.communicate(timeout=60)
    assert program.returncode == 75 and said.startswith("stopped: ") and said.count("\n") == 1
