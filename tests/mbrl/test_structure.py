"""The house: imports run one way, few modules touch files, scripts answer at once and refuse in one line."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import envs
from mbrl.experiments import EXPERIMENTS, base

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").glob("*.py") if not path.name.startswith("_"))
MODULES = sorted([*(ROOT / "envs").rglob("*.py"), *(ROOT / "mbrl").rglob("*.py"), *SCRIPTS])
LAYERS = [
    ("mbrl.types", "mbrl.keys", "mbrl.networks", "mbrl.returns", "mbrl.store", "mbrl.cli", "mbrl.checkpoint"),
    ("mbrl.rollout", "mbrl.models"),
    ("mbrl.planners",),
    ("mbrl.agents", "mbrl.advisers"),
    ("mbrl.experience",),
    ("mbrl.train", "mbrl.evaluation", "mbrl.report", "mbrl.sweep"),
    ("mbrl.experiments",),
    ("scripts",),
]
"""From the bottom to the top: a module imports from its own layer and from those below."""
FILES = {
    "mbrl.store", "mbrl.checkpoint", "mbrl.report", "scripts",
    "mbrl.cli",  # asks whether a folder can be written
    "mbrl.experiments.single",  # reads the configuration of a run
    "envs.levels",  # reads level files
}  # fmt: skip
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


def test_models_see_no_planner_and_planners_see_only_models():
    for path in MODULES:
        if is_in(name_of(path), "mbrl.models"):
            assert not {
                other for other in imported(path) if is_in(other, "mbrl.planners") or is_in(other, "mbrl.agents")
            }
        if is_in(name_of(path), "mbrl.planners"):
            assert not {x for x in imported(path) if is_in(x, "mbrl.models.local") or is_in(x, "mbrl.agents")}


_METHODS = {
    "read_text", "write_text", "read_bytes", "write_bytes", "mkdir", "unlink", "rename", "touch", "savez",
    "savez_compressed", "savetxt", "loadtxt", "fromfile", "tofile", "makedirs", "rmtree",
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
                if what.attr in _METHODS or what.attr == "open" or (what.attr in _NUMPY and owner in ("np", "numpy")):
                    touches.add(what.attr)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            touches |= {"shutil", "tempfile"} & set(names)
    allowed = any(is_in(name_of(path), package) for package in FILES)
    assert allowed or not touches, f"{name_of(path)} touches files: {touches}"


def test_modules_are_short():
    long = {name_of(path): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: lines for name, lines in long.items() if lines > MAX_LINES} == {}


def test_names_known_without_jax_are_those_of_the_world():
    assert tuple(envs.REGIMES) == base.REGIMES and tuple(envs.SHIFTS) == base.SHIFTS
    assert tuple(EXPERIMENTS) == tuple(experiment.name for experiment in EXPERIMENTS.values())
    for experiment in EXPERIMENTS.values():
        assert experiment.shift in base.SHIFTS
        for condition in experiment.conditions:
            assert condition.agent in base.AGENTS and set(condition.regimes) <= {*base.REGIMES, None}
            assert (condition.regimes == (None,)) == (condition.agent in base.REFERENCES)


def run(*words: str, code: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, *(("-c", code) if code else ()), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help_is_answered_without_jax(script):
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:] + ['--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'jax', 'numpy', 'flax', 'matplotlib', 'envs'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = run(str(script), code=code)
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
    ("train.py ppo withheld --steps -1", ["--steps", "at least 1"]),
    ("train.py ppo withheld --learning-rate nan", ["--learning-rate", "got nan"]),
    ("train.py ppo withheld --learning-rate 0", ["--learning-rate", "got 0"]),
    ("train.py ppo withheld --steps 9", ["total_steps", "one update of 4096 steps"]),
    ("train.py ppo withheld --out /dev/null/x", ["--out", "can be written"]),
    ("train.py ppo", ["REGIME is missing"]),
    ("evaluate.py --agents habbit", ["--agents", "'habbit'", "did you mean habit?"]),
    ("evaluate.py --shift shutdwon", ["--shift", "did you mean shutdown?"]),
    ("evaluate.py --seed -1", ["--seed", "got -1"]),
    ("evaluate.py --num-levels 0", ["--num-levels", "at least 1"]),
    ("evaluate.py --out /dev/null/x", ["--out", "can be written"]),
    ("evaluate.py --run /nowhere --num-levels 1", ["run", "'/nowhere'", "train.py"]),
    ("sweep.py dem", ["EXPERIMENT", "did you mean demo?"]),
    ("sweep.py demo --deployment-seed 4294967296", ["--deployment-seed", "from 0 to 4294967295"]),
    ("sweep.py demo --first-seed 4294967295", ["--first-seed", "from 0 to 4294967295"]),
    ("sweep.py demo --ppo-steps -5", ["--ppo-steps", "at least 1"]),
    ("sweep.py demo --out /dev/null/x", ["--out", "can be written"]),
    ("play.py /nowhere.toml", ["/nowhere.toml", "No such file"]),
    ("play.py x.toml --agent oracel", ["--agent", "did you mean oracle?"]),
    ("play.py x.toml --mobility nan", ["--mobility", "got nan"]),
    ("plot.py /nowhere", ["RESULTS", "summary.json", "'/nowhere'"]),
    ("plot.py /dev/null/x", ["--out", "can be written"]),
    ("audit.py withhold", ["REGIME", "'withhold'", "did you mean withheld?"]),
    ("audit.py withheld --num-seeds -1", ["--num-seeds", "at least 1"]),
    ("audit.py withheld --first-seed 4294967296", ["--first-seed", "from 0 to 4294967295"]),
    ("audit.py withheld --out .", ["--out", "expected a file"]),
    ("sweep.py demo --ppo-steps 9", ["total_steps", "one update of 4096 steps"]),
    ("evaluate.py --agents", ["agents", "at least one"]),
    ("audit.py withheld --out /dev/null/x.json", ["--out", "can be written"]),
]


@pytest.mark.parametrize(("words", "parts"), BAD, ids=[words for words, _ in BAD])
def test_bad_input_gets_one_line(words, parts):
    script, *rest = words.split()
    done = run(str(ROOT / "scripts" / script), *rest)
    assert done.returncode == 2 and done.stdout == "", done.stdout
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert [part for part in parts if part not in done.stderr] == [], done.stderr
