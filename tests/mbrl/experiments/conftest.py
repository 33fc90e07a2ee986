"""The tiny experiment, computed once: in this process, so that its trials share what is compiled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mbrl.configs import Options
from mbrl.experiments import run
from mbrl.experiments.run import run_experiment
from mbrl.progress import Message
from mbrl.sweep import work_through
from mbrl.trials import Trial
from tests.mbrl.experiments.tiny import TINY, quiet


def sweep_here(trials: Sequence[Trial], root: Path, options: Options, *_) -> dict[int, str]:
    """Compute trials like `mbrl.sweep.sweep`, but in this process."""
    done: dict[int, str] = {}

    def tell(message: Message) -> None:
        if message.kind == "done":
            done[message.trial] = message.text

    work_through(root, trials, options, tell)
    return done


@contextmanager
def in_this_process() -> Iterator[None]:
    """Let experiments run in this process, and show what goes wrong there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "sweep", sweep_here)
        patch.setenv("PAPERCLIP_TRACEBACK", "1")
        yield


@pytest.fixture(autouse=True, scope="module")
def here() -> Iterator[None]:
    """Let the experiments of a file run in this process."""
    with in_this_process():
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A store with the experiment's trials, and its results in a folder of its name."""
    root = tmp_path_factory.mktemp("experiment") / "runs"
    with in_this_process():
        run_experiment(TINY, root, root / TINY.name, quiet())
    return root


@pytest.fixture(scope="session")
def results(runs) -> Path:
    """The folder of results that the experiment leaves."""
    return runs / TINY.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give whoever comes first the time to run the whole experiment, which compiles every program of an agent."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))
