"""Run an experiment: train, audit, evaluate, and leave table, verdicts, figures and data in a folder.

What is finished is kept; stopped (exit status 75) or killed, the same command goes on.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from mbrl.cli import check_choice, check_output, check_positive_int, check_range, one_line_errors, parse
from mbrl.configs import BACKENDS, Options
from mbrl.experiments import EXPERIMENTS, Experiment
from mbrl.process import default_parallel, environment


@dataclass(frozen=True)
class Settings:
    """Run an experiment; its own numbers hold where no other is given."""

    experiment: tyro.conf.Positional[str]
    """name of the experiment: demo, withheld, arms, models, planners, pairs, unfit, horizons, floors, ensembles,
    adviser, imitation, zoo, thinking"""
    out: Path | None = None
    """folder of the results; <runs>/<experiment> by default"""
    runs: Path = Path("runs")
    """folder of the store, which experiments share: what one has computed no other computes again"""
    backend: str = "local"
    """where trials run: local (processes of this machine), ray, slurm"""
    max_parallel: int = default_parallel()
    """trials at once, at most; one per core by default, and one where there is an accelerator"""
    dry_run: bool = False
    """list the trials and stop"""
    exact: bool = False
    """numbers that do not depend on the number of cores, nor change from run to run on a GPU"""
    devices: int = 1
    """devices that a training program is spread over"""
    tensorboard: bool = False
    """show learning curves in <runs>/tensorboard too"""
    wandb: bool = False
    """and in Weights & Biases, offline unless WANDB_MODE=online"""
    num_seeds: int | None = None
    """training runs per condition"""
    first_seed: int | None = None
    """seed of the first of them"""
    num_levels: int | None = None
    """deployment levels per twin"""
    deployment_seed: int | None = None
    """seed of the deployment levels"""
    num_held_out: int | None = None
    """held-out training levels per regime"""
    num_training_levels: int | None = None
    """levels that each seed's world model learns from"""
    model_steps: int | None = None
    """gradient steps of each world model"""
    ppo_levels: int | None = None
    """levels that each seed of PPO plays"""
    ppo_steps: int | None = None
    """environment steps of each seed of PPO"""
    width: int | None = None
    """seeds that one training program holds side by side"""

    def __post_init__(self):
        check_choice("experiment", self.experiment, EXPERIMENTS)
        check_choice("backend", self.backend, BACKENDS)
        for name in ("max_parallel", "devices"):
            check_positive_int(name, getattr(self, name))
            check_range(name, getattr(self, name), 1, 4096)
        self.planned  # noqa: B018  (every number is checked)
        check_output(self.runs, "runs")
        check_output(self.folder)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or self.runs / self.experiment

    @property
    def planned(self) -> Experiment:
        """The experiment with the numbers given here."""
        names = set(Experiment.__dataclass_fields__) & set(vars(self)) - {"exact"}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        experiment = EXPERIMENTS[self.experiment]
        return replace(experiment, exact=self.exact or experiment.exact, **given)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    from mbrl import interrupt
    from mbrl.experiments import run

    console, experiment = Console(), settings.planned
    if settings.dry_run:
        rows = run.plan(experiment, settings.runs)
        for name, label, there in rows:
            print(f"{name}  {'finished' if there else 'to do   '}  {label}")
        print(f"{len(rows)} trials, {sum(there for _, _, there in rows)} finished")
        return
    with interrupt.listening():
        summary = run.run_experiment(
            experiment,
            settings.runs,
            settings.folder,
            console,
            Options(settings.devices, tensorboard=settings.tensorboard, wandb=settings.wandb),
            settings.backend,
            settings.max_parallel,
            environment(experiment.exact, settings.max_parallel, settings.devices),
        )
    from mbrl.report.table import print_summary

    print_summary(summary, console)
    console.print(f"Results: {settings.folder}/  (summary.json, episodes.csv.gz, audit.json, interference.png)")


if __name__ == "__main__":
    main()
