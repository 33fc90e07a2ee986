"""What is done of many trials, by whom, and how long the rest may take, shown to a person."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from mbrl.trials import Training, Trial

WEIGHTS = {
    "drawing": 1.0,
    "traininglevels": 1.0,
    "references": 2.0,
    "audit": 0.7,
    "true": 1.0,
    "local": 2.0,
    "grid": 10.0,
    "grid-cells": 10.0,
    "dense": 10.0,
    "ppo": 4.0,
    "recurrent_ppo": 6.0,
    "drc": 30.0,
    "pqn": 4.0,
    "dqn": 4.0,
    "advised": 6.0,
    "clone": 6.0,
    "dreamer": 10.0,
    "latent": 10.0,
}
"""Relative durations, of agents by seed; from these the time that is left is guessed."""
DEPLOYING, PLANNING = 0.1, 0.7
"""The same of deploying one seed that has learnt already: of agents that act at once, and of those that plan."""


class Message(NamedTuple):
    """What a worker says: `kind` is "begins", "at", "waits", "done" or "failed"."""

    kind: str
    trial: int
    text: str = ""


@dataclass
class Progress:
    """What is done, shown to a person."""

    trials: Sequence[Trial]
    console: Console
    trained: bool = False
    """Agents have learnt already, and are to be deployed alone."""
    done: dict[int, str] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    doing: dict[Any, str] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)
    _shown: Any = None

    def __enter__(self) -> "Progress":
        self._shown = self.console.status("starts")
        self._shown.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._shown.__exit__(*error)

    def tell(self, worker: Any, message: Message) -> None:
        """Take note of what a worker says."""
        label = self.trials[message.trial].label
        match message.kind:
            case "at":
                self.doing[worker] = f"{label}: {message.text}"
                if "damaged" in message.text or "anew" in message.text:
                    self.console.print(f"{label}: {message.text}", markup=False, highlight=False)
            case "begins":
                self.doing[worker] = label
            case "waits":
                self.doing[worker] = f"{label}: somebody else is at it"
            case "done" if message.trial not in self.done:
                self.done[message.trial] = message.text
                self.failed.pop(message.trial, None)
                self._line(label)
            case "failed" if message.trial not in self.done:
                self.failed[message.trial] = message.text
                self.console.print(f"[red]failed[/red] {escape(f'{label}: {message.text}')}", highlight=False)
        self.show()

    def _line(self, label: str) -> None:
        elapsed = time.monotonic() - self._begun
        self.console.print(
            f"[{elapsed:6.0f} s] {len(self.done)}/{len(self.trials)} {label}{self._left(elapsed)}",
            highlight=False,
            soft_wrap=True,
        )

    def _left(self, elapsed: float) -> str:
        weigh = lambda numbers: sum(weight(self.trials[i], self.trained) for i in numbers)  # noqa: E731
        done, rest = weigh(self.done), weigh(set(range(len(self.trials))) - set(self.done) - set(self.failed))
        return f" (about {elapsed / done * rest:.0f} s left)" if rest and elapsed > 1 else ""

    def show(self) -> None:
        """Show what is being done now."""
        self._shown.update(escape(" │ ".join(dict.fromkeys(self.doing.values()))) or "starts")


def weight(trial: Trial, trained: bool) -> float:
    """Return how long a trial takes, in no unit; if agents are `trained`, only to deploy them."""
    kind = getattr(trial, "agent", type(trial).__name__.lower())
    if trained and isinstance(trial, Training):
        return (PLANNING if "+" in kind else DEPLOYING) * len(trial.seeds)
    return WEIGHTS[kind.partition("+")[0]] * len(getattr(trial, "seeds", (0,)))
