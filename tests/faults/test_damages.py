"""Whatever happens to a stored file, it is found, named, and nothing else suffers; files of strangers run no code."""

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import envs  # noqa: F401  (before JAX starts)
from mbrl.checkpoint import Checkpoints, Parts
from mbrl.configs import VERSIONS
from mbrl.store import RECORD, RESERVATION, Store, arrays_bytes, json_bytes, read_arrays, seal
from mbrl.verification import reward_sums, verify_folder
from tests.faults import overwrite
from tests.faults.driver import small_trial

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCORES = arrays_bytes({"actual/reward": np.arange(12.0).reshape(3, 4), "actual/clips": np.ones((3, 4), np.int32)})
CONTENTS = {
    "lanes.json": json_bytes([{"seed": 1, "first_bad_step": None, "events": {"transitions": 9}}] * 8),
    "weights.safetensors": arrays_bytes({".a": np.arange(600, dtype=np.float32)}),
    "metrics.jsonl": b"".join(json.dumps({"step": i, "loss": i / 7}).encode() + b"\n" for i in range(40)),
    "scores.safetensors": SCORES,
    "levels.safetensors": arrays_bytes({"bank/terrain": np.arange(120, dtype=np.uint8).reshape(2, 6, 10)}),
    "audit.json": json_bytes([{"seed": 0, "parts": {}}]),
    "arena.json": json_bytes({"shift": "shutdown", "twins": ["actual"]}),
    RECORD: json_bytes({"label": "x", "reward_sums": reward_sums(read_arrays(SCORES))}),
}
FIGURES = ("interference.png", "interference.svg", "interference.csv")
HARM = ("flip", "truncate", "zero", "delete", "swap")


def build(root: Path, count: int = 12) -> None:
    """Make a store of finished trials, and a folder of results beside it."""
    store = Store(root)
    listed = []
    for number in range(count):
        trial = small_trial(number)
        with store.claim(trial.identity):
            manifest = store.commit(trial.identity, trial.config, trial.versions, CONTENTS)
        listed.append({"trial": manifest.name, "digest": manifest.digest})
    rows = [("a", "", "actual", 1.5), ("a", "", "actual", 2.5)]
    table = "agent,regime,twin,reward\n" + "".join(f"{a},{r},{t},{reward}\n" for a, r, t, reward in rows)
    summary = {
        "trials": listed,
        "conditions": [{"agent": "a", "regime": None, "twin": "actual", "reward": {"mean": 2.0}}],
    }
    folder = root / "results"
    folder.mkdir()
    contents = {
        "summary.json": json_bytes(summary), "audit.json": json_bytes({}), RESERVATION: json_bytes({"a": 1}),
        "episodes.csv.gz": gzip.compress(table.encode()), **dict.fromkeys(FIGURES, bytes(range(256)) * 4),
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    seal(folder, "results", {}, VERSIONS, list(contents))


def harm(path: Path, how: str, rng: random.Random, other: Path) -> None:
    """Damage a file so that its content changes."""
    content = bytearray(path.read_bytes())
    match how:
        case "flip":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        case "truncate":
            del content[rng.randrange(len(content)) :]
        case "zero":
            at = rng.choice([i for i, byte in enumerate(content) if byte])
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        case "delete":
            path.unlink()
            return
        case "swap":
            content = bytearray(other.read_bytes())
    overwrite(path, bytes(content))


def test_600_damages_are_all_named_and_hurt_nobody_else(tmp_path):
    root, rng = tmp_path / "runs", random.Random(1)
    build(root)
    assert all(not lines for _, lines in verify_folder(root))
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    kinds, silent = {}, []
    for number in range(600):
        path, how = paths[number % len(paths)], HARM[(number // len(paths) + number) % len(HARM)]
        others = [one for one in paths if one.name != path.name or one.parent != path.parent]
        other = rng.choice([one for one in others if one.read_bytes() != path.read_bytes()])
        before = path.read_bytes()
        harm(path, how, rng, other)
        found = {name: lines for name, lines in verify_folder(root) if lines}
        named = any(str(path.parent) in line and path.name in line for lines in found.values() for line in lines)
        # A trial whose manifest is gone is also named by the results that were made from it.
        alone = set(found) <= {str(path.parent), str(root / "results")} and str(path.parent) in found
        if not named or not alone:
            silent.append((str(path), how, found))
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        kinds[path.name, how] = kinds.get((path.name, how), 0) + 1
    print(f"600 damages of {len(kinds)} kinds (file × harm): {len(silent)} not named or not alone")
    assert silent == [] and all(not lines for _, lines in verify_folder(root))


def test_damaged_checkpoints_and_parts_are_named_and_passed_over(tmp_path):
    rng, silent = random.Random(2), []
    state = {"weights": jnp.arange(500.0), "bits": jnp.ones(9, bool)}
    for number in range(60):
        said: list[str] = []
        checkpoints = Checkpoints(tmp_path / str(number), said.append)
        for step in (1, 2):
            checkpoints.save(step, state, {"step": step})
        paths = sorted(
            path
            for path in checkpoints.folder.rglob("*")
            if path.is_file() and (path.name == "2.json" or "2" in path.relative_to(checkpoints.folder).parts)
        )
        path = paths[number % len(paths)]
        how = HARM[number % 4]
        if not path.read_bytes().strip(b"\0"):
            how = "delete"
        harm(path, how, rng, path)
        step, restored, notes = checkpoints.restore(state)
        deleted_seal = how == "delete" and path.name == "2.json"  # as if it had never been finished
        if (step, notes) != (1, {"step": 1}) or not (said or deleted_seal):
            silent.append((path, how, said))
        np.testing.assert_array_equal(restored["weights"], state["weights"])
    for how in ("flip", "truncate", "zero"):
        said = []
        parts = Parts(tmp_path / "parts", said.append)
        parts.put("one", bytes(range(1, 200)))
        harm(tmp_path / "parts" / "one", how, rng, tmp_path)
        assert parts.make("one", lambda: b"again") == b"again" and len(said) == 1
    assert silent == []


HOSTILE = """
import sys
import envs
import numpy as np
from pathlib import Path
from mbrl.experiments.single import load_policy, open_run
from mbrl.checkpoint import Checkpoints
from mbrl.store import read_arrays, read_manifest
from envs.levels import load_level
import jax.numpy as jnp

folder, harmless = Path(sys.argv[1]), Path(sys.argv[2])
like = {"a": jnp.zeros(3)}
checkpoints = Checkpoints(harmless / "checkpoints")
checkpoints.save(1, like, {})
checkpoints.restore(like)                                  # everything is imported once
bad = ("exec", "compile", "import", "pickle.find_class", "socket.connect", "socket.bind", "subprocess.Popen",
       "os.system", "os.exec", "os.posix_spawn", "ctypes.dlopen", "marshal.loads")
seen = []
def hook(event, arguments):
    if event in bad:
        seen.append((event, str(arguments)[:100]))
def attempt(read):
    try:
        read()
        return "accepted"
    except (ValueError, OSError) as error:
        assert "\\n" not in str(error).strip(), error
        return "refused"
def trial(path):
    open_run(path)
    load_policy(path)
def restore(path):
    if Checkpoints(path).restore(like) is None:
        raise ValueError("none")
outcomes = {}
attempt(lambda: trial(harmless))
attempt(lambda: load_level(harmless / "no.toml"))
sys.addaudithook(hook)
for path in sorted(folder.iterdir()):
    kind = path.name.split("-")[0]
    read = {"level": lambda: load_level(path), "weights": lambda: read_arrays(path.read_bytes()),
            "run": lambda: trial(min((path / "trials").iterdir())),
            "results": lambda: read_manifest(path).read_json("summary.json"),
            "checkpoint": lambda: restore(path)}[kind]
    outcome = attempt(read)
    outcomes[kind, outcome] = outcomes.get((kind, outcome), 0) + 1
print(outcomes)
print("seen", seen)
assert not seen
"""


def test_hostile_files_run_no_code(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return print, ("executed",)

    rng = random.Random(3)
    bombs = [
        pickle.dumps(Bomb()), b"\x80\x04cos\nsystem\n(S'true'\ntR.", b"import os\n", b"[" * 100_000, b'{"a":' * 5000,
        b"!!python/object/apply:os.system []", b'{"__class__": "os.system", "task": "training"}', bytes(64),
        np.lib.format.magic(1, 0) + b"v\0{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\xff" * 64,
        b"PK\x03\x04" + bytes(60),
    ]  # fmt: skip
    (folder := tmp_path / "hostile").mkdir()
    (tmp_path / "harmless").mkdir()
    whole = tmp_path / "whole"
    build(whole, 1)
    trial = small_trial(0)
    for number in range(200):
        bomb = bombs[number % len(bombs)] + bytes(rng.randrange(256) for _ in range(rng.randrange(8)))
        kind = ("level", "weights", "run", "results", "checkpoint")[number % 5]
        path = folder / f"{kind}-{number}"
        match kind:
            case "level" | "weights":
                path.write_bytes(bomb)
            case "run":  # sealed by the stranger, so that every hash agrees
                store = Store(path)
                changed = {**CONTENTS, rng.choice(["weights.safetensors", "lanes.json", "metrics.jsonl"]): bomb}
                with store.claim(trial.identity):
                    store.commit(trial.identity, trial.config, trial.versions, changed)
            case "results":
                path.mkdir()
                (path / "summary.json").write_bytes(bomb)
                seal(path, "results", {}, {}, ["summary.json"])
            case "checkpoint":
                Checkpoints(path).save(1, {"a": jnp.zeros(3)}, {})
                victim = rng.choice([one for one in (path / "1").rglob("*") if one.is_file()])
                victim.write_bytes(bomb)
                _seal_checkpoint(path)
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, str(folder), str(tmp_path / "harmless")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "executed" not in done.stdout and "seen []" in done.stdout
    print(done.stdout)


def _seal_checkpoint(folder: Path) -> None:
    """Do what a stranger would: make the hashes agree with the files."""
    from mbrl import checkpoint
    from mbrl.plain import canonical

    body = {"files": checkpoint._hashes(folder / "1"), "notes": {}}
    (folder / "1.json").write_bytes(canonical({**body, "checksum": checkpoint._sha(canonical(body))}))
