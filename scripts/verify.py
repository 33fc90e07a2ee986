"""Check stores and results: every hash, every digest, and the sum of rewards. Exit status 1 if anything is wrong."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import fail, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Check stores and results, every byte of them."""

    folders: tyro.conf.Positional[tuple[Path, ...]] = (Path("runs"),)
    """stores (such as runs), results (such as runs/demo or results/withheld) or single trials"""


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from mbrl.verification import verify_folder

    wrong = checked = 0
    for folder in settings.folders:
        if not folder.is_dir():
            fail(f"FOLDERS: expected a folder, got {str(folder)!r}")
        for name, lines in verify_folder(folder):
            checked += 1
            wrong += bool(lines)
            for line in lines:
                print(line)
            if not lines:
                print(f"{name}: whole")
    print(f"{checked} folders checked, {wrong} damaged")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
