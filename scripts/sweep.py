"""Run an experiment: train, audit, evaluate, and leave table, verdicts, figures and data in a folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from mbrl.cli import check_choice, check_output, check_positive_int, check_seed, one_line_errors, parse
from mbrl.experiments import EXPERIMENTS, Experiment


@dataclass(frozen=True)
class Settings:
    """Run an experiment; its own numbers hold where no other is given."""

    experiment: tyro.conf.Positional[str]
    """name of the experiment: demo"""
    out: Path | None = None
    """folder of the results; runs/<experiment> by default"""
    num_seeds: int | None = None
    """training runs per condition"""
    first_seed: int | None = None
    """seed of the first of them"""
    num_levels: int | None = None
    """deployment levels per twin"""
    deployment_seed: int | None = None
    """seed of the deployment levels"""
    num_training_levels: int | None = None
    """levels that each seed trains on"""
    model_steps: int | None = None
    """gradient steps of each world model"""
    ppo_steps: int | None = None
    """environment steps of each PPO run"""

    def __post_init__(self):
        check_choice("experiment", self.experiment, EXPERIMENTS)
        for name in ("num_seeds", "num_levels", "num_training_levels", "model_steps", "ppo_steps"):
            if getattr(self, name) is not None:
                check_positive_int(name, getattr(self, name))
        for name in ("first_seed", "deployment_seed"):
            if getattr(self, name) is not None:
                check_seed(name, getattr(self, name))
        check_seed("first_seed", self.planned.seeds[-1])
        check_output(self.folder)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or Path("runs") / self.experiment

    @property
    def planned(self) -> Experiment:
        """The experiment with the numbers given here."""
        names = [name for name in vars(self) if name not in ("experiment", "out")]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(EXPERIMENTS[self.experiment], **given)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    import envs  # noqa: F401  (before JAX starts)
    from mbrl.experiments.run import run_experiment
    from mbrl.report.table import print_summary

    console = Console()
    summary = run_experiment(settings.planned, settings.folder, console)
    print_summary(summary, console)
    console.print(f"Results: {settings.folder}/  (summary.json, episodes.csv.gz, audit.json, interference.png)")


if __name__ == "__main__":
    main()
