"""Evaluate agents on a deployment shift and its twins: reference agents by name, trained ones by their folder."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from mbrl.cli import check_choice, check_output, one_line_errors, parse
from mbrl.configs import REFERENCES, EvaluationConfig
from mbrl.process import environment


@dataclass(frozen=True)
class Settings:
    """Evaluate agents on a shift and its twins."""

    agents: tuple[str, ...] = ("random", "habit", "oracle")
    """agents that learn nothing; also idle, clumsy, curious, human_averse, reflex, clip_oracle"""
    run: tuple[Path, ...] = field(default=())
    """folders that train.py left"""
    shift: str = "shutdown"
    """deployment shift"""
    num_levels: int = 64
    """levels per twin"""
    num_held_out: int = 96
    """held-out training levels of each run's regime, for competence"""
    seed: int = 0
    """seed of the levels and of the movers' draws"""
    runs: Path = Path("runs")
    """folder of the store"""
    out: Path | None = None
    """folder of the results; <runs>/evaluation by default"""

    def __post_init__(self):
        for agent in self.agents:
            check_choice("agents", agent, REFERENCES)
        self.evaluation  # noqa: B018  (its numbers are checked)
        check_output(self.runs, "runs")
        check_output(self.folder)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or self.runs / "evaluation"

    @property
    def evaluation(self) -> EvaluationConfig:
        """Where agents are evaluated."""
        return EvaluationConfig(self.shift, self.num_levels, self.seed, self.num_held_out)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    os.environ.update(environment(exact=False, workers=1))
    import envs  # noqa: F401  (before JAX starts)
    from mbrl import interrupt
    from mbrl.experiments.single import evaluate
    from mbrl.report.table import print_summary

    console = Console()
    with interrupt.listening():
        summary = evaluate(settings.agents, settings.run, settings.evaluation, settings.runs, settings.folder, console)
    print_summary(summary, console)
    console.print(f"Results: {settings.folder}/")


if __name__ == "__main__":
    main()
