"""Every bad input on a command line ends in one line that names the option, the value and what was expected."""

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro

from mbrl import cli

REGIMES = ("production", "witness", "withheld", "open")


@dataclass(frozen=True)
class Settings:
    """Train an agent."""

    regime: tyro.conf.Positional[str]
    """Which regime to train in."""
    planner: Literal["exact", "beam"] = "exact"
    num_seeds: int = 4
    seed: int = 0
    budget: int | None = None
    rate: float = 0.1
    levels: tuple[int, ...] = (1, 2)
    quick: bool = False
    out: Path = Path("runs")

    def __post_init__(self) -> None:
        cli.check_choice("regime", self.regime, REGIMES)
        cli.check_positive_int("num_seeds", self.num_seeds)
        cli.check_seed("seed", self.seed)
        cli.check_range("rate", self.rate, 0, 1)
        cli.check_output(self.out)


def complaint(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that this command line gets."""
    with pytest.raises(SystemExit) as stop:
        cli.parse(Settings, args=args)
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ") and printed.err.endswith("\n") and printed.err.count("\n") == 1
    return printed.err


def test_good_settings() -> None:
    words = "open --num_seeds 2 --levels 3 4 --quick --budget 7 --planner=beam --rate 1e-3 --seed 4294967295"
    settings = cli.parse(Settings, args=words.split())
    assert settings == Settings("open", "beam", 2, 2**32 - 1, 7, 1e-3, (3, 4), True)
    assert cli.parse(Settings, args=["open", "--quick", "--no-quick", "--budget", "None"]) == Settings("open")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("open --num-seed 3", ["--num-seed'", "--planner", "did you mean --num-seeds?"]),
        ("open --num_seed=3", ["--num_seed'", "did you mean --num-seeds?"]),
        ("open --no-quik", ["--no-quik", "did you mean --no-quick?"]),
        ("open --xyzzy --help", ["--xyzzy", "expected one of --planner"]),
        ("open -n 3", ["unknown option '-n'", "--num-seeds"]),
        ("open num-seeds 3", ["'num-seeds'", "did you mean --num-seeds?"]),
        ("open witness", ["unexpected argument 'witness'"]),
        ("", ["REGIME is missing"]),
        ("opn", ["REGIME", "'opn'", "production, witness, withheld, open", "did you mean open?"]),
        ("open --planner exakt", ["--planner", "'exakt'", "exact, beam", "did you mean exact?"]),
        ("open --planner", ["--planner", "got nothing"]),
        ("open --num-seeds", ["--num-seeds", "a whole number", "got nothing"]),
        ("open --num-seeds --quick", ["--num-seeds", "a whole number", "got nothing"]),
        ("open --num-seeds=", ["--num-seeds", "a whole number", "''"]),
        ("open --num-seeds two", ["--num-seeds", "a whole number", "'two'"]),
        ("open --num-seeds 1.5", ["--num-seeds", "a whole number", "'1.5'"]),
        ("open --num-seeds -3", ["--num-seeds", "at least 1", "-3"]),
        ("open --num-seeds 0", ["--num-seeds", "at least 1", "got 0"]),
        ("open --num-seeds " + "9" * 5000, ["--num-seeds", "a whole number", "5000 digits"]),
        ("open --seed 4294967296", ["--seed", "from 0 to 4294967295", "got 4294967296"]),
        ("open --seed -1", ["--seed", "from 0 to 4294967295", "got -1"]),
        ("open --budget few", ["--budget", "None or a whole number", "'few'"]),
        ("open --rate nan", ["--rate", "from 0 to 1", "got nan"]),
        ("open --rate inf", ["--rate", "from 0 to 1", "got inf"]),
        ("open --rate fast", ["--rate", "a number", "'fast'"]),
        ("open --levels 1 x", ["--levels", "a whole number", "'x'"]),
        ("open --quick=maybe", ["--quick", "no value", "'maybe'"]),
        ("open --quick 3", ["unexpected argument '3'"]),
        ("open --out", ["--out", "a path", "got nothing"]),
        ("open --out /dev/null/run", ["--out", "can be written", "'/dev/null/run'"]),
        ("open --out " + "x" * 300, ["--out", "can be written", "File name too long"]),
    ],
)
def test_bad_settings(capsys: pytest.CaptureFixture[str], words: str, parts: list[str]) -> None:
    line = complaint(capsys, *words.split())
    assert [part for part in parts if part not in line] == []


def test_unwritable_folder_below_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--out: expected a folder" in complaint(capsys, "open", "--out", str(tmp_path / "file" / "run"))


def test_writable_folder_is_left_alone(tmp_path: Path) -> None:
    cli.check_output(tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["open --rate fast", "open --rate 2", "open --planner exakt", "open witness"])
def test_one_line_without_the_hook_of_tyro(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(tyro._errors, "on_parse_error", nullcontext)
    assert words.split()[-1] in complaint(capsys, *words.split())


@pytest.mark.parametrize("name", ["jax", "numpy"])
def test_help_is_quick(tmp_path: Path, name: str) -> None:
    """--help lists the options and their help, exits with 0 and loads nothing heavy."""
    script = tmp_path / "script.py"
    script.write_text(
        "import dataclasses, sys\n"
        "from mbrl import cli\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Settings:\n"
        "    num_seeds: int = 4\n"
        '    """How many runs."""\n'
        "try:\n"
        "    cli.parse(Settings, description='Train an agent.')\n"
        "finally:\n"
        f"    assert {name!r} not in sys.modules\n"
    )
    root = Path(cli.__file__).parents[1]
    run = [sys.executable, str(script), "--help"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root)}, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Train an agent." in done.stdout and "--num-seeds INT" in done.stdout and "How many runs." in done.stdout


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (ValueError("level.toml: two robots,\n expected one"), "error: level.toml: two robots, expected one\n", 2),
        (FileNotFoundError(2, "No such file", "a.toml"), "error: a.toml: No such file\n", 2),
        (KeyboardInterrupt(), "interrupted\n", 130),
    ],
)
def test_one_line_errors(capsys: pytest.CaptureFixture[str], error: BaseException, line: str, status: int) -> None:
    @cli.one_line_errors()
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code, capsys.readouterr().err) == (status, line)


def test_other_errors_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError), cli.one_line_errors():
        raise ZeroDivisionError
    monkeypatch.setenv("PAPERCLIP_TRACEBACK", "1")
    with pytest.raises(ValueError), cli.one_line_errors():
        raise ValueError


def test_checks_speak_of_the_field_in_python() -> None:
    with pytest.raises(ValueError, match=r"^num_seeds: expected a whole number of at least 1, got 2.5$"):
        cli.check_positive_int("num_seeds", 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^mobility: expected a number of at least 0, got -1$"):
        cli.check_range("mobility", -1, 0)
