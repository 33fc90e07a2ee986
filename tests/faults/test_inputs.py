"""Two thousand command lines of all kinds: each is accepted, or refused in one line before JAX is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
PROGRAM = """
import contextlib, io, json, os, random, sys
from mbrl.cli import parse
from scripts import audit, evaluate, gallery, play, plot, report, runs, sweep, train, verify

rng = random.Random(4)
scripts = {"train": train, "evaluate": evaluate, "sweep": sweep, "audit": audit, "runs": runs, "verify": verify,
           "report": report, "plot": plot, "gallery": gallery, "play": play}
positional = {"train": (["ppo", "local+exact"], ["withheld", "open", "production"]), "sweep": (["demo", "withheld"],),
              "audit": (["withheld", "workshop"],), "report": (["runs/demo"],), "plot": (["runs/demo"],)}
odd = ["nan", "inf", "-inf", "1e400", "-1", "0", "1", "3", "4294967295", "4294967296", "99999999999999999999", "1.5",
       "two", "", " ", "\\x1b[31m", "../../etc", "a" * 300, "💥", "'; rm -rf /", "--", "None", "[1]", "{}", "1e-9",
       "0.5", "12", "-0", "true", "\\n", "withheld ", "WITHHELD", "%s%n", "$(true)", "/dev/null/x", "."]
accepted, refused, wrong = {}, {}, []
for number in range(2000):
    name = rng.choice(list(scripts))
    settings = scripts[name].Settings
    places = ("agent", "regime", "experiment", "trials", "folders", "results")
    options = [field for field in settings.__dataclass_fields__ if field not in places]
    words = [rng.choice(choices if rng.random() < 0.9 else odd) for choices in positional.get(name, ())]
    for _ in range(rng.randrange(4) if options else 0):
        option = rng.choice(options) if rng.random() < 0.95 else rng.choice(["sed", "num-sedes", "x y", "", "é"])
        words.append("--" + option.replace("_", "-"))
        if rng.random() < 0.9:
            words.append(rng.choice(odd) if rng.random() < 0.7 else str(rng.randrange(1, 50)))
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            given = parse(settings, args=words)
        for part in ("trial", "planned", "evaluation", "folder"):
            getattr(given, part, None)
        if name == "sweep":
            [trial.identity for trial in given.planned.trials()] if given.planned.num_seeds < 1000 else None
        accepted[name] = accepted.get(name, 0) + 1
    except SystemExit as stop:
        text = err.getvalue()
        refused[name] = refused.get(name, 0) + 1
        if "--help" not in words and (stop.code != 2 or not text.startswith("error: ") or text.count("\\n") != 1):
            wrong.append((name, words, stop.code, text[:300]))
    except BaseException as error:
        wrong.append((name, words, repr(error)[:300]))
heavy = {"jax", "flax", "gymnax", "envs"} & set(sys.modules)
found = {"accepted": accepted, "refused": refused, "wrong": wrong[:10], "heavy": sorted(heavy), "left": os.listdir(".")}
print(json.dumps(found))
"""


def test_two_thousand_command_lines_are_accepted_or_refused_in_one_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    print(found)
    assert found["wrong"] == [] and found["heavy"] == [] and found["left"] == []
    assert sum(found["accepted"].values()) + sum(found["refused"].values()) == 2000
    assert min(sum(found["accepted"].values()), sum(found["refused"].values())) > 200
