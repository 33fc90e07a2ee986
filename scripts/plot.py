"""Draw the figures of finished results again, from their summary.json alone; or several experiments in one."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_output, fail, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Draw the figures of finished results again; or, of several experiments on the same levels, all agents in one."""

    results: tyro.conf.Positional[tuple[Path, ...]]
    """folder with a summary.json, such as runs/demo; or several"""
    out: Path | None = None
    """folder of the figures; that of the first results by default"""

    def __post_init__(self):
        if not self.results:
            raise ValueError("RESULTS: expected a folder with summary.json, got none")
        check_output(self.out or self.results[0])


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    paths = [folder / "summary.json" for folder in settings.results]
    for path in paths:
        if not path.is_file():
            fail(f"RESULTS: expected a folder with summary.json, got {str(path.parent)!r}")
    from mbrl.report.figures import join, redraw

    first, out = settings.results[0], settings.out or settings.results[0]
    try:
        figures = redraw(first, out) if len(paths) == 1 else join(settings.results, out)
    except (KeyError, TypeError) as error:
        which = " or ".join(map(str, paths))
        fail(f"RESULTS: expected the summary of an experiment, got a {which} that lacks something ({error!r})")
    for figure in figures:
        print(figure)


if __name__ == "__main__":
    main()
