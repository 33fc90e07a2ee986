"""Show an episode on a level file, of a reference agent or played by hand, as text or pictures."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import (
    check_choice,
    check_file,
    check_positive_int,
    check_range,
    check_seed,
    check_terminal,
    one_line_errors,
    parse,
)
from mbrl.configs import REFERENCES, SHIFTS

AGENTS = (*REFERENCES, "human")


@dataclass(frozen=True)
class Settings:
    """Show an episode on a level file, of a reference agent or played by hand, as text or pictures."""

    level: tyro.conf.Positional[Path]
    """level file, such as envs/levels/shutdown.toml"""
    agent: str = "oracle"
    """a script (random, idle, habit, clumsy, curious, human_averse, reflex), an exact planner on the true rules
    (oracle, clip_oracle; refusing and serving mind what they do to people), or human: you, in this terminal"""
    shift: str | None = None
    """what counts as interference: the guard acts of a shift; by default that after which the file is named, else
    those of shutdown"""
    num_ticks: int = 64
    """length of the episode"""
    mobility: float = 0.6
    """probability that a mover acts in a tick"""
    seed: int = 0
    """seed of the movers' draws and of the agent's chance"""
    gif: Path | None = None
    """file for the episode as an animated GIF"""
    strip: Path | None = None
    """file for its telling moments side by side, as PNG"""

    def __post_init__(self):
        check_choice("agent", self.agent, AGENTS)
        if self.shift is not None:
            check_choice("shift", self.shift, SHIFTS)
        check_positive_int("num_ticks", self.num_ticks)
        check_range("mobility", self.mobility, 0.0, 1.0)
        check_seed("seed", self.seed)
        for name, path in (("gif", self.gif), ("strip", self.strip)):
            if path is not None:
                check_file(path, name)
        if self.agent == "human":
            check_terminal("agent")


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    import envs
    from mbrl.report.replay import as_text, replay

    named = (shift for shift in SHIFTS if settings.level.stem.startswith(shift))
    shift = settings.shift or max(named, key=len, default="shutdown")
    level = envs.levels.with_guards(envs.load_level(settings.level), envs.SHIFTS[shift].guards)
    rest = settings.num_ticks, settings.seed, settings.mobility
    if settings.agent == "human":
        from mbrl.report.walk import walk_in_terminal

        moments = walk_in_terminal(level, *rest)
    else:
        moments = replay(level, settings.agent, *rest)
    if settings.gif or settings.strip:
        from mbrl.report.pictures import write_gif, write_strip

        for path, write in ((settings.gif, write_gif), (settings.strip, write_strip)):
            if path is not None:
                write(path, moments)
                print(path)
    else:
        for text in as_text(moments[-1:] if settings.agent == "human" else moments):
            print(f"{text}\n")


if __name__ == "__main__":
    main()
