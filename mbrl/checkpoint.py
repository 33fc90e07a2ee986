"""What a trial under way leaves so that it can go on: checkpoints of training, by orbax, and finished parts.

Orbax restores damaged bytes silently, so every checkpoint is hashed when it is complete, and one that no longer agrees
with its hashes is named and passed over. Typed PRNG keys are stored as their words. One process owns the folder: the
trial's lock (see `mbrl.store`) says which.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from mbrl import files
from mbrl.plain import canonical, read_json

KEEP = 2
"""How many checkpoints are kept: the newest, and one to fall back to."""


class Checkpoints:
    """The checkpoints of one training run, by step: `<step>/` as orbax writes it, `<step>.json` with its hashes."""

    def __init__(self, folder: Path, report: Callable[[str], None] = lambda text: None):
        self.folder, self._report = folder, report
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax tells of every save.

    def save(self, step: int, state: Any, notes: dict) -> None:
        """Save a pytree of device arrays, and what the host notes beside it.

        Older checkpoints but one are removed, and all later ones: they were passed over.
        """
        files.make_folder(self.folder)
        place, seal = self.folder / str(step), self.folder / f"{step}.json"
        files.remove(seal)
        files.remove(place)
        with _checkpointer() as checkpointer:
            checkpointer.save(place.absolute(), [np.asarray(leaf) for leaf in _plain_leaves(state)])
        body = {"files": _hashes(place), "notes": notes}
        files.write_whole(seal, canonical({**body, "checksum": _sha(canonical(body))}))
        steps = self.steps()
        number = steps.index(step) + 1
        for old in steps[: max(0, number - KEEP)] + steps[number:]:
            files.remove(self.folder / f"{old}.json")
            files.remove(self.folder / str(old))

    def steps(self) -> list[int]:
        """Return the steps of all complete checkpoints, in order."""
        names = [name.removesuffix(".json") for name in files.names_in(self.folder) if name.endswith(".json")]
        return sorted(int(name) for name in names if name.isdecimal())

    def restore(self, like: Any, check: Callable[[dict], None] = lambda notes: None) -> tuple[int, Any, dict] | None:
        """Return step, state and notes of the newest checkpoint that is whole and fits `like`, or None.

        Args:
            like: a pytree of arrays of the shapes and types expected.
            check: raises ValueError where what the notes speak of is not there.
        """
        for step in reversed(self.steps()):
            place = self.folder / str(step)
            try:
                notes = self._verify(step)
                state = self._load(place, like)
                check(notes)
                return step, state, notes
            except (ValueError, KeyError, TypeError, OSError) as error:
                reason = str(error).split("\n")[0]
                self._report(f"checkpoint {place} is damaged ({reason}): the one before it is used")
        return None

    def _verify(self, step: int) -> dict:
        """Return the notes of a checkpoint after checking all of its files."""
        try:
            body = read_json(files.read(self.folder / f"{step}.json"))
            whole = body.pop("checksum") == _sha(canonical(body))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            whole = False
        if not whole:
            raise ValueError(f"{step}.json was changed")
        expected, found = body["files"], _hashes(self.folder / str(step))
        differing = sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))
        if differing:
            raise ValueError(f"{differing[0]} was changed")
        return body["notes"]

    def _load(self, place: Path, like: Any) -> Any:
        shapes = jax.eval_shape(_plain_leaves, like)
        wanted = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        with _checkpointer() as checkpointer:
            arguments = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), wanted)  # converts nothing
            stored = checkpointer.restore(place.absolute(), item=wanted, restore_args=arguments)
        for leaf, want in zip(jax.tree.leaves(stored), jax.tree.leaves(wanted), strict=True):
            if leaf.shape != want.shape or leaf.dtype != want.dtype:
                raise ValueError(f"expected {want.dtype}{list(want.shape)}, got {leaf.dtype}{list(leaf.shape)}")
        leaves = [
            jax.random.wrap_key_data(leaf) if _is_key(model) else leaf
            for leaf, model in zip(jax.tree.leaves(stored), jax.tree.leaves(like), strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _checkpointer() -> ocp.Checkpointer:
    """Make orbax's writer for one process: of a run on several hosts only the leader has checkpoints."""
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(), active_processes={jax.process_index()}, barrier_sync_key_prefix="leader"
    )
    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler(multiprocessing_options=alone), multiprocessing_options=alone)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain_leaves(state: Any) -> list[Any]:
    return [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): _sha(files.read(path)) for path in paths}


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Parts:
    """Finished parts of a trial: files that carry their own hash, each whole or not there."""

    def __init__(self, folder: Path, report: Callable[[str], None] = lambda text: None):
        self.folder, self._report = folder, report

    def get(self, name: str) -> bytes | None:
        """Return the content of a part; None if it is not there, or was damaged, which is reported."""
        if name not in files.names_in(self.folder):
            return None
        content = files.read(self.folder / name)
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            self._report(f"{self.folder / name} is damaged: it is computed again")
            return None
        return content[32:]

    def put(self, name: str, content: bytes) -> None:
        """Keep a part."""
        files.write_whole(self.folder / name, hashlib.sha256(content).digest() + content)

    def make(self, name: str, work: Callable[[], bytes]) -> bytes:
        """Return a part, after computing and keeping it if it is not there."""
        content = self.get(name)
        if content is None:
            content = work()
            self.put(name, content)
        return content
