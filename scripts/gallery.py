"""Draw a level of every training family and shift, the twins of one, and a legend, on one sheet."""

from dataclasses import dataclass
from pathlib import Path

from mbrl.cli import check_file, check_seed, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Draw a level of every training family and shift, the twins of one, and a legend, on one sheet."""

    out: Path = Path("docs/gallery.png")
    """file of the sheet, as PNG"""
    seed: int = 0
    """seed of the levels, which come from a stream of their own"""

    def __post_init__(self):
        check_file(self.out)
        check_seed("seed", self.seed)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    from mbrl.report.gallery import write_gallery

    with Console(stderr=True).status("draws levels") as status:
        write_gallery(settings.out, settings.seed, status.update)
    print(settings.out)


if __name__ == "__main__":
    main()
