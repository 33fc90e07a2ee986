"""What numbers depend on besides their configuration: machine, versions, flags and code.

Two runs with equal fingerprints give equal bits (on a GPU, with `--exact`). Trials whose fingerprints differ are never
joined silently.
"""

import ast
import hashlib
import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("jax", "jaxlib", "flax", "optax", "gymnax", "numpy", "scipy")


@cache
def _fingerprint() -> dict:
    import jax

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": os.environ.get("PJRT_NPROC") or str(os.cpu_count()),
        "devices": sorted({str(device.device_kind) for device in jax.devices()}),
        "flags": os.environ.get("XLA_FLAGS", ""),
        "packages": {name: version(name) for name in PACKAGES},
        "code": code_digest(),
    }


def fingerprint() -> dict:
    """Return the fingerprint of this process."""
    return dict(_fingerprint())


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@cache
def code_digest() -> str:
    """Return a hash of what the code of the world and the mind says; comments, docstrings and layout do not count."""
    root, found = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted([*(root / "envs").rglob("*.py"), *(root / "mbrl").rglob("*.py")]):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_docstring(body[0]):
                del body[0]
        found.update(f"{path.relative_to(root).as_posix()}\0{ast.dump(tree)}\0".encode())
    return found.hexdigest()[:16]


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def differences(fingerprints: list[dict]) -> dict[str, list[str]]:
    """Return what differs among fingerprints: for each such entry its values."""
    flat = [{**one, **one["packages"]} for one in fingerprints]
    names = sorted({name for one in flat for name in one} - {"packages"})
    values = {name: sorted({str(one.get(name)) for one in flat}) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}
