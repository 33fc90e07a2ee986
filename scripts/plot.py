"""Draw the figures of finished results again, from their summary.json alone."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_output, fail, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Draw the figures of finished results again."""

    results: tyro.conf.Positional[Path]
    """folder with a summary.json, such as runs/demo"""
    out: Path | None = None
    """folder of the figures; that of the results by default"""

    def __post_init__(self):
        check_output(self.out or self.results)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    path = settings.results / "summary.json"
    if not path.is_file():
        fail(f"RESULTS: expected a folder with summary.json, got {str(settings.results)!r}")
    from mbrl.report.figures import redraw

    try:
        figures = redraw(settings.results, settings.out or settings.results)
    except (KeyError, TypeError) as error:
        fail(f"RESULTS: expected the summary of an experiment, got a {path} that lacks something ({error!r})")
    for figure in figures:
        print(figure)


if __name__ == "__main__":
    main()
