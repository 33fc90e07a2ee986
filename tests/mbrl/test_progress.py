"""Progress of a sweep: every kind of trial is told of, with a guess of the time that is left."""

import io

from rich.console import Console

from mbrl.experiments import EXPERIMENTS
from mbrl.progress import Message, Progress
from mbrl.trials import Training


def test_every_trial_of_every_experiment_is_told_of():
    for experiment in EXPERIMENTS.values():
        trials, text = list(experiment.trials()), io.StringIO()
        with Progress(trials, Console(file=text, width=200)) as progress:
            progress._begun -= 10  # seconds; nothing is guessed in the first
            for number, trial in enumerate(trials):
                progress.tell(1, Message("begins", number))
                progress.tell(1, Message("done", number, trial.identity))
        lines = text.getvalue().splitlines()
        assert len(progress.done) == len(trials) and all(trial.label in text.getvalue() for trial in trials)
        assert "left" in lines[0] and f"{len(trials)}/{len(trials)}" in lines[-1]


def test_less_is_left_of_agents_that_have_learnt_already():
    trials, said = list(EXPERIMENTS["demo"].trials()), {}
    for trained in (False, True):
        text = io.StringIO()
        with Progress(trials, Console(file=text, width=40), trained=trained) as progress:
            progress._begun -= 10
            first = next(number for number, trial in enumerate(trials) if not isinstance(trial, Training))
            progress.tell(1, Message("done", first, trials[first].identity))
        (line,) = text.getvalue().splitlines()  # however narrow
        said[trained] = float(line.partition("about ")[2].split()[0])
    assert 0 < said[True] < 0.5 * said[False]
