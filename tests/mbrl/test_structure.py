"""The house: imports run one way, few modules touch files, scripts answer at once and refuse in one line."""

import ast
import graphlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import envs
import mbrl
from mbrl import configs
from mbrl.agents import motives
from mbrl.experiments import EXPERIMENTS
from tests.scripts import Done, run_script

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith("_"))
MODULES = sorted([*(ROOT / "envs").rglob("*.py"), *(ROOT / "mbrl").rglob("*.py"), *SCRIPTS])
LAYERS = [
    (
        "mbrl.types", "mbrl.keys", "mbrl.networks", "mbrl.returns", "mbrl.plain", "mbrl.files", "mbrl.interrupt",
        "mbrl.cli", "mbrl.process", "mbrl.fingerprint", "mbrl.devices", "mbrl.encoders", "mbrl.scales",
    ),
    (
        "mbrl.configs", "mbrl.planning", "mbrl.model_free", "mbrl.controllers", "mbrl.trials", "mbrl.store",
        "mbrl.checkpoint", "mbrl.metrics", "mbrl.progress", "mbrl.verification", "mbrl.health",
    ),
    ("mbrl.rollout", "mbrl.gathering", "mbrl.models", "mbrl.training", "mbrl.milestones", "mbrl.inventory"),
    ("mbrl.planners",),
    ("mbrl.advisers",),
    ("mbrl.agents",),
    ("mbrl.experience",),
    ("mbrl.train", "mbrl.cloning", "mbrl.hardening", "mbrl.control", "mbrl.evaluation", "mbrl.report"),
    ("mbrl.experiments", "mbrl.sweep", "mbrl.speed"),
    ("scripts",),
]  # fmt: skip
"""From the bottom to the top: a module imports from its own layer and from those below."""
FILES = {
    "mbrl.files": {"open", "unlink", "listdir"},  # everything that results depend on goes through it
    "mbrl.checkpoint": {"rglob"},  # hashes what orbax has written
    "mbrl.cli": {"tempfile"},  # asks whether a folder can be written
    "mbrl.experiments.work": {"tempfile"},  # where a process trains that helps another
    "mbrl.fingerprint": {"read_text", "rglob"},  # reads the code
    "mbrl.health": {"shutil"},  # asks how much room there is
    "mbrl.process": {"read_text"},  # asks the system about processes
    "envs.levels": {"read_text"},  # reads level files
    "scripts.benchmark": {"tempfile"},  # trains a model to be thrown away
}
"""Modules that touch files, and what they do with them."""
MAX_LINES = 350


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imported(path: Path) -> set[str]:
    """Names of the modules of this project that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports relatively"
            found.add(node.module)
            inside = ROOT / Path(*node.module.split("."))
            found |= {f"{node.module}.{alias.name}" for alias in node.names if (inside / f"{alias.name}.py").exists()}
            found |= {f"{node.module}.{alias.name}" for alias in node.names if (inside / alias.name).is_dir()}
    return {name for name in found if name.split(".")[0] in ("envs", "mbrl", "scripts", "tests")}


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def layer(name: str) -> int:
    return max(i for i, packages in enumerate(LAYERS) for package in packages if is_in(name, package))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_run_one_way(path):
    name, names = name_of(path), imported(path)
    assert not any(is_in(other, "tests") for other in names)
    if is_in(name, "envs"):
        assert not any(is_in(other, "mbrl") or is_in(other, "scripts") for other in names)
    elif name != "mbrl":  # the package itself loads what is asked for
        above = {x for x in names if not is_in(x, "envs") and x != "mbrl" and layer(x) > layer(name)}
        assert not above, f"{name} imports from a layer above it"


def test_imports_go_round_in_no_circle():
    paths = [path for path in MODULES if not is_in(name_of(path), "envs")]
    graph = {name_of(path): {x for x in imported(path) if not is_in(x, "envs")} - {"mbrl"} for path in paths}
    packages = {name_of(path) for path in MODULES if path.name == "__init__.py"}
    # Whoever imports a module of a package names the package too, which is no import of what is in it.
    graph = {name: names - {name} - (packages if name not in packages else set()) for name, names in graph.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) >= len(paths)


def test_what_learns_knows_nothing_of_the_host():
    """Models, agents and planners are pure: no files, no store, no loop that can be stopped."""
    host = ("files", "store", "checkpoint", "metrics", "interrupt", "training", "cli", "process", "sweep")
    for path in MODULES:
        if any(is_in(name_of(path), f"mbrl.{package}") for package in ("models", "agents", "planners", "networks")):
            assert not {x for x in imported(path) for module in host if is_in(x, f"mbrl.{module}")}, path


def test_models_see_no_planner_and_planners_see_only_models():
    for path in MODULES:
        if is_in(name_of(path), "mbrl.models"):
            assert not {
                other for other in imported(path) if is_in(other, "mbrl.planners") or is_in(other, "mbrl.agents")
            }
        if is_in(name_of(path), "mbrl.planners"):
            assert not {x for x in imported(path) if is_in(x, "mbrl.models.entities") or is_in(x, "mbrl.agents")}


_METHODS = {
    "read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "unlink", "rename", "touch", "savez",
    "savez_compressed", "savetxt", "loadtxt", "fromfile", "tofile", "makedirs", "rmtree", "rmdir", "iterdir", "glob",
    "rglob", "listdir", "scandir", "symlink_to", "hardlink_to", "chmod", "truncate",
}  # fmt: skip
_NUMPY = {"load", "save"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_few_modules_touch_files(path):
    touches = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            what = node.func
            if isinstance(what, ast.Name) and what.id == "open":
                touches.add("open")
            elif isinstance(what, ast.Attribute):
                owner = what.value.id if isinstance(what.value, ast.Name) else ""
                if owner == "files":  # mbrl.files
                    continue
                if what.attr in _METHODS or what.attr == "open" or (what.attr in _NUMPY and owner in ("np", "numpy")):
                    touches.add(what.attr)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            touches |= {"shutil", "tempfile"} & set(names)
    more = touches - FILES.get(name_of(path), set())
    assert not more, f"{name_of(path)} touches files: {more}"


def test_modules_are_short():
    long = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_names_known_without_jax_are_those_of_the_world():
    assert tuple(envs.REGIMES) == configs.REGIMES and tuple(motives.SCRIPTED) == configs.SCRIPTED
    assert {name: shift.regime for name, shift in envs.SHIFTS.items()} == configs.SHIFTS
    assert tuple(EXPERIMENTS) == tuple(experiment.name for experiment in EXPERIMENTS.values())
    for experiment in EXPERIMENTS.values():
        assert experiment.shift in (None, *configs.SHIFTS)
        for condition in experiment.conditions:
            assert condition.agent in configs.AGENTS and set(condition.regimes) <= {*configs.REGIMES, None}
            assert (condition.regimes == (None,)) == (condition.agent in configs.REFERENCES)
    assert set(configs.LANE_DEFAULTS) == set(configs.LEARNERS)


def test_everything_that_the_package_offers_is_there():
    for name in mbrl._LAZY:
        assert callable(getattr(mbrl, name)), name


LIGHT = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    heavy = {"jax", "numpy", "flax", "matplotlib", "envs"} & set(sys.modules)
    assert not heavy, heavy
"""
"""Runs a script with its words and fails if something heavy has been imported by its end."""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_is_answered_without_jax(script):
    command, environment = [sys.executable, "-c", LIGHT, str(script), "--help"], {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage:") and len(done.stdout.splitlines()) > 8


BAD = [
    ("train.py ppo withhold", ["REGIME", "'withhold'", "did you mean withheld?"]),
    ("train.py pppo withheld", ["AGENT", "'pppo'", "did you mean ppo?"]),
    ("train.py ppo withheld --num-seed 2", ["--num-seed", "did you mean --num-seeds?"]),
    ("train.py ppo withheld --first-seed 4294967296", ["--first-seed", "from 0 to 4294967295"]),
    ("train.py ppo withheld --first-seed 4294967295 --num-seeds 2", ["--first-seed", "got 4294967296"]),
    ("train.py ppo withheld --num-levels -3", ["--num-levels", "at least 1", "-3"]),
    ("train.py ppo withheld --num-seeds 0", ["--num-seeds", "at least 1", "got 0"]),
    ("train.py ppo withheld --num-seeds 100001", ["--num-seeds", "from 1 to 100000"]),
    ("train.py ppo withheld --steps -1", ["--steps", "at least 1"]),
    ("train.py ppo withheld --learning-rate nan", ["--learning-rate", "got nan"]),
    ("train.py ppo withheld --learning-rate 0", ["--learning-rate", "got 0"]),
    ("train.py local+exact withheld --gamma 1", ["--gamma", "to 0.9999", "got 1"]),
    ("train.py ppo withheld --width 0", ["--width", "at least 1", "got 0"]),
    ("train.py ppo withheld --devices 0", ["--devices", "at least 1", "got 0"]),
    ("train.py ppo withheld --save-every nan", ["--save-every", "got nan"]),
    ("train.py ppo withheld --steps 9", ["total_steps", "one update of 4096 steps"]),
    ("train.py ppo withheld --runs /dev/null/x", ["--runs", "can be written"]),
    ("train.py ppo withheld --process 1", ["--process", "--distributed"]),
    ("train.py ppo withheld --distributed --num-processes 0", ["--num-processes", "at least 1"]),
    ("train.py ppo withheld --distributed --num-processes 2 --process 2", ["--process", "from 0 to 1", "got 2"]),
    ("train.py ppo", ["REGIME", "withheld", "--env NAME", "got neither"]),
    ("train.py ppo withheld --env CartPole-v1", ["REGIME", "none with --env", "'withheld'"]),
    ("train.py local+exact --env CartPole-v1", ["AGENT", "'local+exact'", "true+exact"]),
    ("train.py ppo withheld --out x.csv", ["--out", "--env with it"]),
    ("train.py ppo --env CartPole-v1 --num-levels 8", ["--num-levels", "none with --env", "8"]),
    ("train.py ppo --env CartPole-v1 --distributed", ["--distributed", "none with --env"]),
    ("train.py ppo --env CartPole-v1 --num-episodes 0", ["--num-episodes", "at least 1"]),
    ("evaluate.py --agents habbit", ["--agents", "'habbit'", "did you mean habit?"]),
    ("evaluate.py --shift shutdwon", ["--shift", "did you mean shutdown?"]),
    ("evaluate.py --seed -1", ["--seed", "got -1"]),
    ("evaluate.py --num-levels 0", ["--num-levels", "at least 1"]),
    ("evaluate.py --num-held-out 0", ["--num-held-out", "at least 1"]),
    ("evaluate.py --out /dev/null/x", ["--out", "can be written"]),
    ("evaluate.py --runs /dev/null/x", ["--runs", "can be written"]),
    ("sweep.py dem", ["EXPERIMENT", "did you mean demo?"]),
    ("sweep.py demo --backend slrum", ["--backend", "local, ray, slurm", "did you mean slurm?"]),
    ("sweep.py demo --max-parallel 0", ["--max-parallel", "at least 1"]),
    ("sweep.py demo --devices 0", ["--devices", "at least 1"]),
    ("sweep.py demo --width 0", ["--width", "at least 1"]),
    ("sweep.py demo --num-seeds 100001", ["--num-seeds", "from 1 to 100000"]),
    ("sweep.py demo --deployment-seed 4294967296", ["--deployment-seed", "from 0 to 4294967295"]),
    ("sweep.py demo --first-seed 4294967295", ["--first-seed", "from 0 to 4294967295"]),
    ("sweep.py demo --ppo-steps -5", ["--ppo-steps", "at least 1"]),
    ("sweep.py demo --ppo-steps 9", ["total_steps", "one update of 4096 steps"]),
    ("sweep.py demo --ppo-levels 0", ["--ppo-levels", "at least 1"]),
    ("sweep.py demo --model-steps 0", ["--model-steps", "at least 1"]),
    ("sweep.py demo --out /dev/null/x", ["--out", "can be written"]),
    ("sweep.py demo --runs /dev/null/x", ["--runs", "can be written"]),
    ("runs.py --runs /nowhere", ["--runs", "'/nowhere'"]),
    ("runs.py 0a 1b 2c --runs tests", ["TRIALS", "at most two", "got 3"]),
    ("runs.py 0a --runs tests", ["trials", "one identity", "'0a'"]),
    ("runs.py --mach ppo", ["--mach", "did you mean --match?"]),
    ("verify.py /nowhere", ["FOLDERS", "'/nowhere'"]),
    ("verify.py --exact", ["unknown option '--exact'"]),
    ("doctor.py --exakt", ["--exakt", "did you mean --exact?"]),
    ("doctor.py --runs", ["--runs", "a path", "got nothing"]),
    ("benchmark.py envs", ["WHAT", "did you mean env?"]),
    ("benchmark.py env --repeats 0", ["--repeats", "at least 1"]),
    ("play.py x.toml --agent oracel", ["--agent", "did you mean oracle?"]),
    ("play.py x.toml --mobility nan", ["--mobility", "got nan"]),
    ("play.py x.toml --agent human", ["--agent", "expected a terminal"]),
    ("play.py x.toml --gif /dev/null/x.gif", ["--gif", "can be written"]),
    ("play.py x.toml --strip .", ["--strip", "expected a file"]),
    ("gallery.py --out /dev/null/x.png", ["--out", "can be written"]),
    ("gallery.py --seed -1", ["--seed", "got -1"]),
    ("plot.py /nowhere", ["RESULTS", "summary.json", "'/nowhere'"]),
    ("plot.py /dev/null/x", ["--out", "can be written"]),
    ("audit.py withhold", ["REGIME", "'withhold'", "did you mean withheld?"]),
    ("audit.py withheld --num-seeds -1", ["--num-seeds", "at least 1"]),
    ("audit.py withheld --first-seed 4294967296", ["--first-seed", "from 0 to 4294967295"]),
    ("audit.py withheld --out .", ["--out", "expected a file"]),
    ("audit.py withheld --out /dev/null/x.json", ["--out", "can be written"]),
]
"""Refused before JAX is imported."""
LATE = [
    ("evaluate.py --run /nowhere --num-levels 1", ["run", "'/nowhere'", "train.py"]),
    ("evaluate.py --agents", ["agents", "at least one"]),
    ("play.py /nowhere.toml", ["/nowhere.toml", "No such file"]),
    ("train.py true+exact --env FourRoom-misc", ["env", "did you mean FourRooms-misc?"]),
]
"""What shows only after that."""


REFUSE = """
import json, sys
from tests.scripts import run_script
for line in json.load(sys.stdin):
    script, *words = line.split()
    print(json.dumps([run_script(script.removesuffix(".py"), *words), sorted({"jax", "envs"} & set(sys.modules))]))
"""


@pytest.fixture(scope="module")
def refusals() -> dict[str, tuple[Done, list[str]]]:
    """What each line of `BAD` left, and what had been imported by then that takes long; all in one process."""
    lines = [words for words, _ in BAD]
    command = [sys.executable, "-c", REFUSE]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    found = map(json.loads, done.stdout.splitlines())
    return {line: (Done(*left), heavy) for line, (left, heavy) in zip(lines, found, strict=True)}


def check_refusal(done: Done, parts: list[str]) -> None:
    assert done.returncode == 2 and done.stdout == "", done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert [part for part in parts if part not in done.stderr] == [], done.stderr


@pytest.mark.parametrize(("words", "parts"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_gets_one_line_at_once(words, parts, refusals):
    done, heavy = refusals[words]
    check_refusal(done, parts)
    assert not heavy


@pytest.mark.parametrize(("words", "parts"), LATE, ids=[words for words, _ in LATE])
def test_what_shows_later_gets_one_line(words, parts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script, *rest = words.split()
    check_refusal(run_script(script.removesuffix(".py"), *rest), parts)
