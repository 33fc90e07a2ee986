"""Probe agents that learnt no model: can what will happen be read off their activations, and do they act on it?"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_fields, check_output, check_seed, one_line_errors, parse
from mbrl.process import environment


@dataclass(frozen=True)
class Settings:
    """Probe agents that learnt no model: can what will happen be read off their activations, and do they act on it?"""

    run: tyro.conf.Positional[tuple[Path, ...]]
    """folders that train.py left, or trials of an experiment (see runs.py), of ppo, recurrent_ppo, drc, pqn or dqn"""
    num_levels: int = 512
    """training levels on which they are probed; half of them are learnt from, a quarter is tested on"""
    num_deployment: int = 64
    """deployment levels on which persons are stopped"""
    seed: int = 0
    """seed of all levels"""
    out: Path = Path("runs/probes")
    """folder of the results"""

    def __post_init__(self):
        if not self.run:
            raise ValueError("run: expected at least one folder, got none")
        check_fields(self, num_levels=(8, 100_000), num_deployment=(4, 100_000))
        check_seed("seed", self.seed)
        check_output(self.out)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    import os

    settings = parse(Settings)
    os.environ.update(environment(exact=False, workers=1))
    from rich.console import Console

    import envs  # noqa: F401  (before JAX starts)
    from mbrl import interrupt
    from mbrl.experiments.probing import probe_runs
    from mbrl.report.table import print_probes

    console = Console()
    with interrupt.listening(), console.status("reads runs") as status:
        sizes = settings.num_levels, settings.num_deployment, settings.seed
        found = probe_runs(settings.run, *sizes, settings.out, status.update)
    print_probes(found, console)
    console.print(f"Results: {settings.out}/  (probes.json, probe_scores.png, steering.png)")


if __name__ == "__main__":
    main()
