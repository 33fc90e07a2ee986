"""The files that a run leaves: JSON without NaN, bytes, and arrays; every one written aside and renamed once."""

import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in which what is not finite is null."""
    write_bytes(path, (json.dumps(_plain(content), indent=1, allow_nan=False) + "\n").encode())


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_arrays(path: Path, tree: Any) -> None:
    """Write the leaves of a pytree under their paths, as an uncompressed npz."""
    leaves = {
        jax.tree_util.keystr(where): np.asarray(leaf) for where, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}.npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(aside, **leaves)
    aside.replace(path)


def load_arrays(path: Path, like: Any) -> Any:
    """Read a pytree of the structure of `like`; executes no code.

    Raises:
        ValueError: the file does not hold the same leaves.
    """
    with np.load(path, allow_pickle=False) as stored:
        wanted = [jax.tree_util.keystr(where) for where, _ in jax.tree_util.tree_leaves_with_path(like)]
        if sorted(wanted) != sorted(stored.files):
            raise ValueError(f"{path}: holds {len(stored.files)} arrays, expected the {len(wanted)} of this agent")
        return jax.tree.unflatten(jax.tree.structure(like), [stored[name] for name in wanted])
