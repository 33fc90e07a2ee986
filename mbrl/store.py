"""The store: one folder per finished trial, whole or not there at all, that never changes again.

    runs/trials/<identity>/     finished: manifest.json and the files that it lists
    runs/work/<identity>/       under way: checkpoints, parts, metrics so far
    runs/work/<identity>.lock   held by whoever works on it
    runs/damaged/               finished trials that no longer verify, set aside to be looked at

A trial is built aside, flushed to the disk and renamed once. Its manifest lists SHA-256 and size of every file, the
configuration, whose hash is the folder's name, and the hash of all that; *finished* means that it verifies. Tables and
summaries are made from finished trials and can be made again. The `digest` covers what is computed and leaves out what
merely happened (times, machine), so that equal work has equal digests.
"""

import contextlib
import hashlib
import json
import math
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from mbrl import files
from mbrl.plain import canonical, identity, read_json

SCHEMA = 1
MANIFEST = "manifest.json"
RECORD = "record.json"
"""What happened: machine, times. It is listed like every file, but is no part of the digest."""
MILESTONES = "milestones.safetensors"
"""What had been learnt on the way, kept for whoever looks into an agent; no part of the digest either."""
RESERVATION = "experiment.json"
"""In a folder of results: of which experiment and settings they are."""
LARGEST_FILE = 2**34


class Damaged(ValueError):
    """A folder is not what its manifest says; the message is one line that names folder and file."""


@dataclass(frozen=True)
class Manifest:
    """What a sealed folder holds: `files` by name, with their SHA-256; `config` and `versions` if it is a trial."""

    folder: Path
    name: str
    config: Any
    versions: dict
    files: dict[str, str]
    digest: str

    def read(self, name: str) -> bytes:
        """Return the content of a file, which must be what was sealed.

        Raises:
            Damaged: it is not.
        """
        if name not in self.files:
            raise Damaged(f"{self.folder}: {name} is not among its files")
        content = _read(self.folder, name)
        if _sha(content) != self.files[name]:
            raise Damaged(f"{self.folder}: {name} is damaged (its SHA-256 differs)")
        return content

    def read_json(self, name: str) -> Any:
        """Return what a JSON file holds."""
        return read_json(self.read(name))


def seal(folder: Path, name: str, config: Any, versions: dict, names: list[str]) -> Manifest:
    """Write the manifest of a folder's files."""
    contents = {one: _read(folder, one) for one in sorted(names)}
    listed = {one: {"sha256": _sha(content), "size": len(content)} for one, content in contents.items()}
    hashes = {one: entry["sha256"] for one, entry in listed.items()}
    digest = _digest(name, hashes)
    body = {
        "schema": SCHEMA, "name": name, "config": config, "versions": versions, "files": listed, "digest": digest
    }  # fmt: skip
    files.write_whole(folder / MANIFEST, _sealed(body))
    return Manifest(folder, name, config, versions, hashes, digest)


def reseal(folder: Path, names: list[str]) -> Manifest:
    """Write the manifest of a sealed folder again after files of these names were added or changed."""
    manifest = read_manifest(folder)
    return seal(folder, manifest.name, manifest.config, manifest.versions, sorted({*manifest.files, *names}))


def _digest(name: str, hashes: dict[str, str]) -> str:
    return _sha(canonical([name, {one: value for one, value in hashes.items() if one not in (RECORD, MILESTONES)}]))


def _sealed(body: dict) -> bytes:
    return json.dumps({**body, "checksum": _sha(canonical(body))}, indent=1, allow_nan=False).encode() + b"\n"


def read_manifest(folder: Path) -> Manifest:
    """Read a manifest and check it against itself.

    Raises:
        Damaged: it is missing, is not one, or was changed.
    """
    text = _read(folder, MANIFEST)
    try:
        body = read_json(text)
        checksum = body.pop("checksum")
        whole = checksum == _sha(canonical(body)) and text == _sealed(body) and body["schema"] == SCHEMA
        listed = {name: entry["sha256"] for name, entry in body["files"].items()}
        manifest = Manifest(folder, body["name"], body["config"], body["versions"], listed, body["digest"])
        whole = whole and manifest.digest == _digest(manifest.name, listed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise Damaged(f"{folder}: {MANIFEST} is damaged")
    if any(Path(name).name != name or not name.isprintable() or name in ("", "..", MANIFEST) for name in listed):
        raise Damaged(f"{folder}: {MANIFEST} lists a file outside the folder")
    return manifest


def damages(folder: Path) -> list[str]:
    """Return a line for everything that is wrong with a sealed folder; none if it verifies."""
    return _inspect(folder)[1]


def _inspect(folder: Path) -> tuple[Manifest | None, list[str]]:
    """Return a folder's manifest, if it can be read, and a line for everything that is wrong (see `damages`)."""
    try:
        manifest = read_manifest(folder)
    except Damaged as error:
        return None, [str(error)]
    found = []
    for name in manifest.files:
        try:
            manifest.read(name)
        except Damaged as error:
            found.append(str(error))
    extra = set(files.names_in(folder)) - set(manifest.files) - {MANIFEST}
    return manifest, found + [f"{folder}: {_line(name)} does not belong to it" for name in sorted(extra)]


def _line(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST_FILE:
            raise Damaged(f"{folder}: {name} is not a plain file")
        return files.read(path)
    except (FileNotFoundError, NotADirectoryError):
        raise Damaged(f"{folder}: {name} is missing") from None
    except OSError as error:
        raise Damaged(f"{folder}: {name} cannot be read ({error.strerror})") from None


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Store:
    """The trials below one folder."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self.trials, self.work = self.root / "trials", self.root / "work"

    def names(self) -> list[str]:
        """Return the names of all folders of finished trials."""
        return files.names_in(self.trials)

    def workspace(self, name: str) -> Path:
        """Return the folder in which a trial is under way."""
        return self.work / name

    def has(self, name: str) -> bool:
        """Tell whether a trial's folder is there, verified or not."""
        return (self.trials / name).exists()

    def verify(self, name: str) -> Manifest:
        """Return the manifest of a finished trial after checking all of it.

        Raises:
            Damaged: it is not there, or something about it is wrong; the line says what is wrong first.
        """
        folder = self.trials / name
        manifest, wrong = _inspect(folder)
        if manifest is not None and not name == manifest.name == identity(manifest.config, manifest.versions):
            wrong = wrong or [f"{folder}: {MANIFEST} is that of another trial, {manifest.name!a}"]
        if manifest is None or wrong:
            raise Damaged(wrong[0] + (f" (and {len(wrong) - 1} more)" if wrong[1:] else ""))
        return manifest

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Try to become the only one who works on a trial, for as long as the block lasts."""
        with files.lock(self.work / f"{name}.lock") as mine:
            yield mine

    def commit(self, name: str, config: Any, versions: dict, contents: Mapping[str, bytes]) -> Manifest:
        """Finish a trial that one has claimed: all its files appear at once; what was left of its work is removed."""
        aside = self.work / f"{name}.new"
        files.remove(aside)
        files.make_folder(aside)
        for file, content in contents.items():
            files.write(aside / file, content)
        seal(aside, name, config, versions, list(contents))
        for file in (*contents, MANIFEST):
            files.make_read_only(aside / file)
        files.sync_folder(aside)
        files.make_folder(self.trials)
        files.rename(aside, self.trials / name)
        self.clear_work(name)
        return read_manifest(self.trials / name)

    def clear_work(self, name: str) -> None:
        """Remove what is left of the work on a trial that one has claimed."""
        files.remove(self.work / f"{name}.new")
        files.remove(self.workspace(name))

    def set_aside(self, name: str) -> Path:
        """Move a damaged trial out of the way, so that it can be computed again; return where it is now."""
        taken = files.names_in(self.root / "damaged")
        number = next(i for i in range(len(taken) + 1) if f"{name}.{i}" not in taken)
        place = self.root / "damaged" / f"{name}.{number}"
        files.make_folder(place.parent)
        files.rename(self.trials / name, place)
        return place


def json_bytes(content: Any) -> bytes:
    """Return JSON in which what is not finite is null."""
    return (json.dumps(_plain(content), indent=1, allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def arrays_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return named arrays as safetensors."""
    return safetensors.numpy.save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def read_arrays(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, in the order of their names; executes no code.

    Raises:
        ValueError: it is none.
    """
    try:
        return dict(sorted(safetensors.numpy.load(content).items()))
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"expected a safetensors file ({' '.join(str(error).split())})") from None
