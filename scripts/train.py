"""Train one agent on one regime, all seeds in one program, and leave it in a folder for evaluate.py."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_choice, check_output, check_positive_int, check_range, check_seed, one_line_errors, parse
from mbrl.experiments.base import LEARNERS, REGIMES


@dataclass(frozen=True)
class Settings:
    """Train one agent on one regime."""

    agent: tyro.conf.Positional[str]
    """ppo, or local+exact"""
    regime: tyro.conf.Positional[str]
    """what training shows: production, witness, workshop, withheld, open"""
    num_seeds: int = 4
    """training runs, each with its own levels, experience and initialisation"""
    first_seed: int = 0
    """seed of the first of them"""
    num_levels: int = 600
    """levels that each seed trains on"""
    steps: int | None = None
    """environment steps of PPO, gradient steps of a world model; the agent's own number by default"""
    learning_rate: float | None = None
    """of Adam; the agent's own by default"""
    out: Path | None = None
    """folder of the run; runs/<agent>-<regime>-<seeds> by default"""

    def __post_init__(self):
        check_choice("agent", self.agent, LEARNERS)
        check_choice("regime", self.regime, REGIMES)
        for name in ("num_seeds", "num_levels"):
            check_positive_int(name, getattr(self, name))
        if self.steps is not None:
            check_positive_int("steps", self.steps)
        if self.learning_rate is not None:
            check_range("learning_rate", self.learning_rate, 1e-8, 1.0)
        check_seed("first_seed", self.first_seed)
        check_seed("first_seed", self.first_seed + self.num_seeds - 1)
        check_output(self.out or Path("runs"))


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    import envs  # noqa: F401  (before JAX starts)
    from mbrl.experiments.single import DEFAULTS, TrainingRun, train

    steps, learning_rate = DEFAULTS[settings.agent]
    run = TrainingRun(
        agent=settings.agent,
        regime=settings.regime,
        first_seed=settings.first_seed,
        num_seeds=settings.num_seeds,
        num_levels=settings.num_levels,
        steps=settings.steps or steps,
        learning_rate=learning_rate if settings.learning_rate is None else settings.learning_rate,
    )
    folder = settings.out or Path("runs") / run.name
    train(run, folder, Console())
    print(f"Trained: {folder}/  (evaluate it: python scripts/evaluate.py --run {folder})")


if __name__ == "__main__":
    main()
