"""Say whether this machine is fit for the project: versions, devices, memory, determinism; exit status 1 if not."""

import os
from dataclasses import dataclass
from pathlib import Path

from mbrl.cli import one_line_errors, parse
from mbrl.process import environment


@dataclass(frozen=True)
class Settings:
    """Say whether this machine is fit for the project."""

    runs: Path = Path("runs")
    """folder that results would go to"""
    exact: bool = False
    """examine it with the settings of --exact"""


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    os.environ.update(environment(settings.exact, 1))
    import envs  # noqa: F401  (before JAX starts)
    from mbrl.health import examine

    wrong = []
    for finding in examine(settings.runs):
        print(f"{finding.name:16} {finding.value}")
        if finding.wrong:
            wrong.append(f"warning: {finding.name}: {finding.wrong}")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
