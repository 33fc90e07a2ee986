"""Checking what is stored, and that what is reported agrees with it.

trial      every hash; its name is the hash of its configuration; rewards add up to those of its record
results    every hash; the means of rewards in summary.json are those of episodes.csv.gz; its trials, where they are
           in a store beside it, are finished and have the digests that it was made from
"""

import csv
import gzip
import io
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mbrl import files
from mbrl.store import MANIFEST, RECORD, Damaged, Manifest, Store, damages, read_arrays, read_manifest


def verify_folder(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield name and findings of all that lies in a folder: a store with results, one of either, or a trial."""
    if (folder / "trials").is_dir():
        store = Store(folder)
        for name in store.names():
            yield str(store.trials / name), _trial(store, name)
        for name in files.names_in(folder):
            if (folder / name / MANIFEST).exists():
                yield str(folder / name), _results(folder / name, store)
    elif folder.parent.name == "trials":
        yield str(folder), _trial(Store(folder.parents[1]), folder.name)
    else:
        yield str(folder), _results(folder, Store(folder.parent))


def _trial(store: Store, name: str) -> list[str]:
    folder = store.trials / name
    found = damages(folder)
    if found:
        return found
    try:
        manifest = store.verify(name)
        return _reward_sums(manifest)
    except Exception as error:  # Whatever a file that was sealed so may hold.
        return [_line(folder, error)]


def _line(folder: Path, error: Exception) -> str:
    return str(error) if isinstance(error, Damaged) else f"{folder}: {error!r}"


def reward_sums(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Add up the rewards of every array of rewards."""
    return {name: math.fsum(array.ravel()) for name, array in arrays.items() if name.endswith("/reward")}


def _reward_sums(manifest: Manifest) -> list[str]:
    if "scores.safetensors" not in manifest.files:
        return []
    said = manifest.read_json(RECORD)["reward_sums"]
    arrays = read_arrays(manifest.read("scores.safetensors"))
    if said == reward_sums(arrays):
        return []
    return [f"{manifest.folder}: the rewards of scores.safetensors do not add up to what {RECORD} says"]


def _results(folder: Path, store: Store) -> list[str]:
    found = damages(folder)
    if found:
        return found
    manifest = read_manifest(folder)
    if "summary.json" not in manifest.files:  # probes: hashes are all there is to check
        return []
    try:
        summary = manifest.read_json("summary.json")
        return _means(manifest, summary) + _origins(folder, summary, store)
    except Exception as error:
        return [_line(folder, error)]


def _means(manifest: Manifest, summary: dict) -> list[str]:
    """Compare the mean reward of every condition with the table of episodes."""
    if "episodes.csv.gz" not in manifest.files:
        return []
    rewards: dict[tuple, list[float]] = defaultdict(list)
    text = gzip.decompress(manifest.read("episodes.csv.gz")).decode()
    for row in csv.DictReader(io.StringIO(text)):
        rewards[row["agent"], row["regime"], row["twin"]].append(float(row["reward"]))
    wrong = []
    for row in summary["conditions"]:
        key = row["agent"], row["regime"] or "", row["twin"]
        mean = math.fsum(rewards[key]) / len(rewards[key])
        if not math.isclose(mean, row["reward"]["mean"], rel_tol=1e-9, abs_tol=1e-9):
            wrong.append(f"{manifest.folder}: summary.json and episodes.csv.gz differ in the reward of {' '.join(key)}")
    return wrong


def _origins(folder: Path, summary: dict, store: Store) -> list[str]:
    """Compare the digests that results were made from with the trials of a store, if it has any of them."""
    listed = {part["trial"]: part["digest"] for part in summary["trials"]}
    there = [name for name in listed if store.has(name)]
    missing = [f"{folder}: its trial {name} is missing from {store.root}" for name in listed if name not in there]
    wrong = []
    for name in there:
        try:
            if read_manifest(store.trials / name).digest != listed[name]:
                wrong.append(f"{folder}: its trial {name} has another digest now")
        except Damaged as error:
            wrong.append(str(error))
    return wrong + (missing if there else [])
