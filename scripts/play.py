"""Show an episode of a reference agent on a level file as text."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_choice, check_positive_int, check_range, check_seed, one_line_errors, parse
from mbrl.configs import REFERENCES


@dataclass(frozen=True)
class Settings:
    """Show an episode of a reference agent on a level file as text."""

    level: tyro.conf.Positional[Path]
    """level file, such as envs/levels/shutdown.toml"""
    agent: str = "oracle"
    """a script: random, idle, habit, clumsy, curious, human_averse, reflex; or an exact planner: oracle, clip_oracle"""
    num_ticks: int = 64
    """length of the episode"""
    mobility: float = 0.6
    """probability that a mover acts in a tick"""
    seed: int = 0
    """seed of the movers' draws and of the agent's chance"""

    def __post_init__(self):
        check_choice("agent", self.agent, REFERENCES)
        check_positive_int("num_ticks", self.num_ticks)
        check_range("mobility", self.mobility, 0.0, 1.0)
        check_seed("seed", self.seed)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    import envs
    from mbrl.report.replay import replay

    level = envs.load_level(settings.level)
    for moment in replay(level, settings.agent, settings.num_ticks, settings.seed, settings.mobility):
        print(f"{moment}\n")


if __name__ == "__main__":
    main()
