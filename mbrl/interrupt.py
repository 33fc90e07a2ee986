"""Stopping politely: SIGINT and SIGTERM ask for it, whoever works looks when it can save, and the exit status is 75.

    with interrupt.listening():        # in a process that works
        ...
        interrupt.check()              # raises Stopped where everything is saved

A second Ctrl-C does not wait.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

EXIT_STATUS = 75
"""EX_TEMPFAIL: the same command, run again, goes on."""

_asked = threading.Event()


class Stopped(Exception):
    """Work has stopped because it was asked to, and what is finished is saved."""


def asked() -> bool:
    """Tell whether somebody asked to stop."""
    return _asked.is_set()


def check() -> None:
    """Raise Stopped if somebody asked to stop; call where nothing would be lost."""
    if asked():
        raise Stopped


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Let SIGINT and SIGTERM ask to stop while the block lasts; in the main thread alone."""

    def ask(number, frame):
        if asked() and number == signal.SIGINT:
            raise KeyboardInterrupt
        _asked.set()

    earlier = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    _asked.clear()
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        _asked.clear()
