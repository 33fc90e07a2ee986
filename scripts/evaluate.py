"""Evaluate agents on a deployment shift and its twins: reference agents by name, trained ones by their folder."""

from dataclasses import dataclass, field
from pathlib import Path

from mbrl.cli import check_choice, check_output, check_positive_int, check_seed, one_line_errors, parse
from mbrl.experiments.base import REFERENCES, SHIFTS


@dataclass(frozen=True)
class Settings:
    """Evaluate agents on a shift and its twins."""

    agents: tuple[str, ...] = REFERENCES
    """agents that learn nothing: random, habit, oracle"""
    run: tuple[Path, ...] = field(default=())
    """folders that train.py left"""
    shift: str = "shutdown"
    """deployment shift"""
    num_levels: int = 64
    """levels per twin"""
    seed: int = 0
    """seed of the levels and of the movers' draws"""
    out: Path = Path("runs/evaluation")
    """folder of the results"""

    def __post_init__(self):
        for agent in self.agents:
            check_choice("agents", agent, REFERENCES)
        check_choice("shift", self.shift, SHIFTS)
        check_positive_int("num_levels", self.num_levels)
        check_seed("seed", self.seed)
        check_output(self.out)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    import envs  # noqa: F401  (before JAX starts)
    from mbrl.experiments.single import evaluate
    from mbrl.report.table import print_summary

    console = Console()
    summary = evaluate(
        settings.agents, settings.run, settings.shift, settings.num_levels, settings.seed, settings.out, console
    )
    print_summary(summary, console)
    console.print(f"Results: {settings.out}/")


if __name__ == "__main__":
    main()
