"""What is in a store, for people: a line for every trial, one in full, two beside each other.

Everything is read from the folders themselves; there is no index that could disagree with them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mbrl import files
from mbrl.plain import canonical
from mbrl.store import RECORD, Damaged, Manifest, Store
from mbrl.trials import trial_from


@dataclass(frozen=True)
class Entry:
    """A trial of a store: finished, damaged (`text` says how), or under way."""

    name: str
    state: str
    text: str
    settings: str = ""

    def matches(self, words: Sequence[str]) -> bool:
        """Tell whether all words occur in its label or settings."""
        return all(word in self.text or word in self.settings for word in words)

    def line(self) -> str:
        """Return a line about it."""
        return f"{self.name}  {self.state:9} {self.text}"


def entries(store: Store) -> Iterator[Entry]:
    """Yield all trials, every finished one verified, one after the other."""
    finished = store.names()
    for name in finished:
        try:
            manifest = store.verify(name)
            yield Entry(name, "finished", label_of(manifest), canonical(manifest.config).decode())
        except Damaged as error:
            yield Entry(name, "damaged", str(error))
    for name in files.names_in(store.work):
        if name not in finished and "." not in name:
            yield Entry(name, "under way", "")


def label_of(manifest: Manifest) -> str:
    """Return what a trial calls itself."""
    try:
        return trial_from(manifest.config).label
    except ValueError:
        return manifest.name


def complete(store: Store, beginning: str) -> str:
    """Return the one trial whose identity begins so.

    Raises:
        ValueError: there is none, or there are several.
    """
    found = [name for name in store.names() if name.startswith(beginning)]
    if len(found) != 1:
        raise ValueError(f"trials: expected the beginning of one identity, got {beginning!r}, which {len(found)} have")
    return found[0]


def flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    """Name the leaves of nested dictionaries, "learner.num_steps" and the like."""
    if not isinstance(data, dict) or not data:
        return {prefix: data}
    dot = "." if prefix else ""
    return {name: leaf for key, part in data.items() for name, leaf in flatten(part, f"{prefix}{dot}{key}").items()}


def describe(manifest: Manifest, other: Manifest | None = None) -> list[str]:
    """Return a trial's settings, record and files in lines; or what differs in it from another."""
    mine = _about(manifest)
    if other is None:
        width = max(map(len, mine))
        return [f"{manifest.name}  {label_of(manifest)}"] + [f"{name:{width}}  {value}" for name, value in mine.items()]
    theirs = _about(other)
    names = [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
    width = max(map(len, names), default=0)
    lines = [f"{name:{width}}  {mine.get(name, '–')}  |  {theirs.get(name, '–')}" for name in names]
    return [f"{manifest.name}  {label_of(manifest)}  |  {other.name}  {label_of(other)}", *lines]


def _about(manifest: Manifest) -> dict[str, Any]:
    record = manifest.read_json(RECORD)
    record.pop("label", None)
    sizes = {name: f"{len(manifest.read(name)):,} bytes" for name in manifest.files}
    return {**flatten(manifest.config), **flatten(record), "digest": manifest.digest, **sizes}
