"""The files that a run leaves: JSON without NaN, bytes, and arrays; every one written aside and renamed once."""

import json
import math
import os
import zipfile
import zlib
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
        ValueError: the file is damaged, or does not hold leaves of the same names, shapes and types.
    """
    wanted = {jax.tree_util.keystr(where): leaf for where, leaf in jax.tree_util.tree_leaves_with_path(like)}
    try:
        with np.load(path, allow_pickle=False) as file:
            stored = {name: file[name] for name in file.files}
    except (EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged ({error})") from None
    describe = lambda leaves: {name: (leaf.shape, leaf.dtype) for name, leaf in leaves.items()}  # noqa: E731
    if describe(stored) != describe(wanted):
        raise ValueError(f"{path}: expected the {len(wanted)} arrays of this agent and number of seeds")
    return jax.tree.unflatten(jax.tree.structure(like), [stored[name] for name in wanted])
