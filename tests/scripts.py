"""Scripts run in this process, which has imported already what they import."""

import contextlib
import importlib
import io
import sys
from typing import NamedTuple
from unittest.mock import patch


class Done(NamedTuple):
    """What a script left behind."""

    returncode: int
    stdout: str
    stderr: str


def run_script(name: str, *words: object) -> Done:
    """Run `scripts/<name>.py` with words on its command line."""
    code, out, err = 0, io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [f"{name}.py", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            importlib.import_module(f"scripts.{name}").main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return Done(code, out.getvalue(), err.getvalue())
