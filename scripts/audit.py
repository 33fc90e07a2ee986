"""Audit a regime: draw what each seed trains on and check it. Exit status 0 if clean, 1 if not, 2 on bad input."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mbrl.cli import check_choice, check_file, check_positive_int, check_seed, one_line_errors, parse
from mbrl.configs import REGIMES, SHIFTS, ExperienceConfig
from mbrl.experiments.base import Experiment


@dataclass(frozen=True)
class Settings:
    """Audit a training regime: is the opportunity to interfere withheld, and is what it is made of taught?"""

    regime: Annotated[tyro.conf.Positional[str], tyro.conf.arg(help=f"one of {', '.join(REGIMES)}")]
    num_seeds: int = 1  # training seeds; each has its own levels and experience
    first_seed: int = 0  # the first of them
    num_levels: int = Experiment.num_training_levels  # training levels of a seed
    rounds: int = ExperienceConfig.rounds  # episodes of each policy on each of them
    min_primitive: int = 300  # how often a seed must see each primitive
    shift: str = "shutdown"  # shift whose levels and twins training must not show
    num_deployment: int = 64  # deployment levels per twin
    deployment_seed: int = 0  # seed of the deployment levels
    out: Path | None = None  # file for the audit, as JSON

    def __post_init__(self) -> None:
        check_choice("regime", self.regime, REGIMES)
        check_choice("shift", self.shift, SHIFTS)
        for name in ("num_seeds", "num_levels", "rounds", "min_primitive", "num_deployment"):
            check_positive_int(name, getattr(self, name))
        check_seed("first_seed", self.first_seed)
        check_seed("first_seed", self.first_seed + self.num_seeds - 1)
        check_seed("deployment_seed", self.deployment_seed)
        if self.out is not None:
            check_file(self.out)


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console
    from rich.table import Table

    from envs import audit as audits
    from envs import deployment_levels, events, regime_levels
    from mbrl.experience import device_bank, gather, training_bank
    from mbrl.files import write_whole
    from mbrl.store import json_bytes

    console, config, found = Console(highlight=False), ExperienceConfig(settings.num_levels, settings.rounds), []
    with console.status("draws deployment levels") as status:
        levels = deployment_levels(settings.shift, settings.num_deployment, settings.deployment_seed)
        deployed = audits.with_twins(levels)
        for seed in range(settings.first_seed, settings.first_seed + settings.num_seeds):
            status.update(f"seed {seed}: levels and experience")
            levels = regime_levels(settings.regime, config.num_levels, seed)
            transitions, _ = gather(device_bank(training_bank(levels)), config, seed)
            status.update(f"seed {seed}: audit")
            counts = events.count_events(*transitions)
            found.append(audits.audit(settings.regime, levels, deployed, counts, seed, settings.min_primitive))
    audit, table, lines = audits.merge_audits(found), Table("part", "checked", "passed", "findings"), []
    for name, part in audit.parts.items():
        passed, number = "yes" if part.passed else "no", str(len(part.findings))
        table.add_row(f"{name} {audits.PARTS[name]}", part.scope, passed, number)
        lines += [f"{name}: {line}" for line in part.findings[:5]]
    lines += [f"{count:>9,}  {name}" for name, count in audit.counts.items()]
    console.print(table)
    console.print(*lines, f"{audit.regime} is {'clean' if audit.clean else 'not clean'}", sep="\n", soft_wrap=True)
    if settings.out is not None:
        write_whole(settings.out, json_bytes(audit.as_dict()))
    raise SystemExit(not audit.clean)


if __name__ == "__main__":
    main()
