"""Look into a store of trials: list them, filter, show one, compare two.

runs.py                          every trial: identity, state, what it is
runs.py --match withheld --match ppo       those whose label or settings contain all these words
runs.py 3f2a                     one trial (any beginning of its identity that is unique): settings and times
runs.py 3f2a 91bc                what differs between two trials
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import fail, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Look into a store of trials."""

    trials: tyro.conf.Positional[tuple[str, ...]] = ()
    """none to list, one to show, two to compare: beginnings of identities"""
    runs: Path = Path("runs")
    """folder of the store"""
    match: tuple[str, ...] = ()
    """list only trials whose label or settings contain all these words"""


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from mbrl import inventory
    from mbrl.store import Store

    if len(settings.trials) > 2:
        fail(f"TRIALS: expected at most two, got {len(settings.trials)}")
    if not settings.runs.is_dir():
        fail(f"--runs: expected a folder, got {str(settings.runs)!r}")
    store = Store(settings.runs)
    if not settings.trials:
        entries = [entry for entry in inventory.entries(store) if entry.matches(settings.match)]
        for entry in entries:
            print(entry.line())
        states = [entry.state for entry in entries]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        print(f"{len(entries)} trials" + (f": {counts}" if counts else ""))
        raise SystemExit(any(state == "damaged" for state in states))
    manifests = [store.verify(inventory.complete(store, trial)) for trial in settings.trials]
    print("\n".join(inventory.describe(*manifests)))


if __name__ == "__main__":
    main()
