"""Turns a frozen dataclass of settings into a command line, and every bad input into one line on stderr.

    @dataclass(frozen=True)
    class Settings:
        regime: tyro.conf.Positional[str]      # audit.py withheld
        num_seeds: int = 4                     # --num-seeds 4
        quick: bool = False                    # --quick, --no-quick
        def __post_init__(self):
            check_choice("regime", self.regime, REGIMES)
            check_positive_int("num_seeds", self.num_seeds)

    @one_line_errors()
    def main() -> None:
        settings = parse(Settings, description="Audit a regime.")

Fields are flat; a bool has a default. JAX is not imported here: `--help` and a bad option are answered at once.
"""

import contextlib
import difflib
import io
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

import tyro

from mbrl.interrupt import EXIT_STATUS, Stopped

Settings = TypeVar("Settings")

LARGEST = 2**40
"""Largest number of steps, levels or units that a setting may ask for."""
_POSITIONAL = tyro.conf.Positional[Any]
_IN_WORDS = {"INT": "a whole number", "FLOAT": "a number", "PATH": "a path", "STR": "a word"}


def parse(cls: type[Settings], description: str | None = None, args: Sequence[str] | None = None) -> Settings:
    """Read the settings from the command line; a bad one ends the program with one line and exit status 2.

    Args:
        cls: frozen dataclass; the string under a field is its help. Where `__post_init__` raises
            ValueError("num_seeds: expected …"), as the checks below do, the line speaks of --num-seeds.
        description: the first lines of the help; the docstring of the class by default.
        args: the words of the command line; `sys.argv[1:]` by default.
    """
    words = list(sys.argv[1:] if args is None else args)
    labels = {name: _label(name, hint) for name, hint in get_type_hints(cls, include_extras=True).items()}
    flags = [labels[name] for name, hint in get_type_hints(cls).items() if hint is bool]
    switches = [*flags, *(flag.replace("--", "--no-", 1) for flag in flags)]
    options = [label for label in labels.values() if label.startswith("--") and label not in flags] + switches
    for word in words:  # Two dashes make a word an option, wherever it stands.
        option, equals, value = word.partition("=")
        name = option.replace("_", "-")
        if option.startswith("--") and name not in [*options, "--help"]:
            fail(f"unknown option {option!r}: expected {_one_of(name, options)}")
        if name in switches and equals:
            fail(f"{option}: expected no value, got {value!r}")

    # tyro draws its errors as boxes. Its hook, which is private, says what is wrong; without it, or where it meets
    # something new, the box is flattened.
    line = ""

    def explain(event: Any) -> None:
        nonlocal line
        line = _explain(event, labels, options)

    hook = getattr(getattr(tyro, "_errors", None), "on_parse_error", contextlib.nullcontext)
    with contextlib.redirect_stderr(io.StringIO()) as box, hook(explain):
        try:
            markers: Any = [tyro.conf.PositionalMetavarFromFieldName]
            return tyro.cli(cls, description=description, args=words, config=markers)
        except SystemExit as stop:
            if not stop.code:
                raise
    fail(line or re.sub(r"\x1b\[[0-9;]*m|[\u2500-\u257f]+", " ", box.getvalue()))


def _label(name: str, hint: Any) -> str:
    """Name a field as the user knows it: REGIME where it is positional, else --num-seeds."""
    return name.upper() if get_args(_POSITIONAL)[1] in get_args(hint) else "--" + name.replace("_", "-")


def _explain(event: Any, labels: dict[str, str], options: list[str]) -> str:
    """Say in one line what tyro objects to; empty where that is not known."""
    match type(event).__name__:
        case "UnrecognizedArgs":
            word = event.tokens[0]
            kind = "unknown option" if word.startswith("-") else "unexpected argument"
            return f"{kind} {word!r}: expected {_one_of('--' + word.lstrip('-'), options)}"
        case "MissingArgs":
            return f"{labels[event.missing_arguments[0].arg.field.intern_name]} is missing"
        case "InstantiationFailure" if event.argument is None:  # A check in __post_init__.
            name, colon, rest = event.message.partition(":")
            return labels.get(name, name) + colon + rest
        case "InvalidChoice":
            expected, got = _one_of(event.value, event.choices), repr(event.value)
        case "BadValue" | "InstantiationFailure":
            types = dict.fromkeys(re.findall(r"\w+", event.argument.lowered.metavar))  # Of "INT" or "[INT [INT ...]]".
            expected = " or ".join(_IN_WORDS.get(word, word) for word in types)
            reason = getattr(event, "message", "nothing")  # "invalid literal for int() with base 10: 'two'"
            quoted = re.search(r"\['.*?'\]|'.*'", reason)
            got = quoted.group() if quoted else reason
        case _:
            return ""
    return f"{labels[event.argument.field.intern_name]}: expected {expected}, got {got}"


def _one_of(word: str, choices: Iterable[str]) -> str:
    choices = list(choices)
    guesses = difflib.get_close_matches(word, choices, n=1)
    return f"one of {', '.join(choices)}" + "".join(f" (did you mean {guess}?)" for guess in guesses)


def fail(message: object) -> NoReturn:
    """End the program with one line on stderr and exit status 2."""
    print("error:", " ".join(str(message).split()), file=sys.stderr)
    sys.exit(2)


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a ValueError or OSError into one line (whole with PAPERCLIP_TRACEBACK=1), a polite stop into exit status 75,
    Ctrl-C into 130."""
    try:
        yield
    except (ValueError, OSError) as error:
        if os.environ.get("PAPERCLIP_TRACEBACK"):
            raise
        fail(f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error)
    except Stopped:
        print("stopped: what is finished is saved, and the same command goes on", file=sys.stderr)
        sys.exit(EXIT_STATUS)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def check_range(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise ValueError unless low ≤ value ≤ high; NaN and infinity are in no range."""
    if not (low <= value <= high and abs(value) < math.inf):
        between = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{name}: expected a number {between}, got {value}")


def check_positive_int(name: str, value: int) -> None:
    if not (isinstance(value, Integral) and value >= 1):
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value}")


def check_positive_ints(name: str, values: Sequence[int]) -> None:
    if not values:
        raise ValueError(f"{name}: expected one number or more, got none")
    for value in values:
        check_positive_int(name, value)


def check_flag(name: str, value: Any) -> None:
    """Raise ValueError unless this is true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected true or false, got {value!r}")


def check_seed(name: str, value: int) -> None:
    """Raise ValueError unless 0 ≤ value < 2³²: JAX lets seeds outside collide silently."""
    if not (isinstance(value, Integral) and 0 <= value < 2**32):
        raise ValueError(f"{name}: expected a whole number from 0 to 4294967295, got {value}")


def check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"{name}: expected {_one_of(value, choices)}, got {value!r}")


def check_fields(config: Any, positive: tuple[str, ...] = (), **ranges: tuple[float, float]) -> None:
    """Raise ValueError unless the named fields are whole numbers of at least 1, or numbers within their ranges."""
    for name in positive:
        check_positive_int(name, getattr(config, name))
        check_range(name, getattr(config, name), 1, LARGEST)
    for name, (low, high) in ranges.items():
        check_range(name, getattr(config, name), low, high)


def check_output(path: Path | str, name: str = "out") -> None:
    """Raise ValueError unless the folder, or the nearest one above it that exists, takes a file; none is left there."""
    folder = Path(path).absolute()
    try:
        while not folder.exists():
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        expected = f"expected a folder that can be written, got {str(path)!r}"
        raise ValueError(f"{name}: {expected} ({error.strerror})") from error


def check_file(path: Path | str, name: str = "out") -> None:
    """Raise ValueError unless a file can be written there; one that is there already may be replaced."""
    try:
        if Path(path).is_dir():
            raise ValueError(f"{name}: expected a file, got the folder {str(path)!r}")
    except OSError as error:  # such as a name that is too long
        expected = f"expected a file that can be written, got {str(path)!r}"
        raise ValueError(f"{name}: {expected} ({error.strerror})") from error
    check_output(Path(path).parent, name)


def check_terminal(name: str) -> None:
    """Raise ValueError unless keys can be read one by one from a terminal, and a screen be drawn on it."""
    if not (os.isatty(0) and os.isatty(1)):
        raise ValueError(f"{name}: expected a terminal as standard input and output, got a file or a pipe")
