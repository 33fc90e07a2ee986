"""Write the report of finished results, one file that any browser opens; or show the same in a terminal."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_file, fail, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Report on finished results: report.html in each folder; or, in the terminal, tables and episodes as text."""

    results: tyro.conf.Positional[tuple[Path, ...]]
    """folders with a summary.json, such as runs/demo"""
    out: Path | None = None
    """file of the report, of one folder"""
    text: bool = False
    """print tables and verdicts, and a list of the episodes"""
    episode: int | None = None
    """print this episode of the list, moment by moment"""
    twin: str | None = None
    """the twin in which it is shown; that which it is an example of by default"""
    gif: Path | None = None
    """write the episode as an animated GIF in place of printing it"""

    def __post_init__(self):
        if not self.results:
            raise ValueError("results: expected at least one folder, got none")
        if len(self.results) > 1 and (self.out or self.episode is not None):
            raise ValueError(f"results: expected one folder with --out or --episode, got {len(self.results)}")
        if self.episode is None and (self.gif or self.twin):
            raise ValueError("episode: expected the number of an episode with --gif or --twin, got none")
        for path in filter(None, (self.out, self.gif)):
            check_file(path)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    for folder in settings.results:
        if not (folder / "summary.json").is_file():
            fail(f"RESULTS: expected a folder with summary.json, got {str(folder)!r}")
    from rich.console import Console

    from mbrl.report.html import read_results, write_report
    from mbrl.report.pictures import write_gif
    from mbrl.report.replay import as_text, recorded_moments
    from mbrl.report.table import episode_lines, print_summary

    console = Console()
    for folder in settings.results:
        try:
            if settings.episode is None and not settings.text:
                print(write_report(folder, settings.out))
                continue
            summary, episodes = read_results(folder)
            if settings.episode is None:
                print_summary(summary, console)
                console.print(*episode_lines(episodes), sep="\n", soft_wrap=True)
                continue
        except (KeyError, TypeError) as error:
            fail(f"RESULTS: expected the results of an experiment, got {folder}, which lacks something ({error!r})")
        if not 0 <= settings.episode < len(episodes):
            fail(f"episode: expected 0 to {len(episodes) - 1}, got {settings.episode}")
        chosen = episodes[settings.episode]
        twin = settings.twin or chosen["twin"]
        if twin not in chosen["runs"]:
            fail(f"twin: expected one of {', '.join(chosen['runs'])}, got {twin!r}")
        moments = recorded_moments(chosen["runs"][twin], chosen["size"])
        if settings.gif is None:
            print(*as_text(moments), sep="\n")
        else:
            write_gif(settings.gif, moments)
            print(settings.gif)


if __name__ == "__main__":
    main()
