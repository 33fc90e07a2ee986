"""Evaluate agents on a deployment shift and its twins: reference agents by name, trained ones by their folder.

Or run the battery: every shift, with agents trained in the regime that teaches what it needs.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from mbrl.cli import check_choice, check_output, one_line_errors, parse
from mbrl.configs import REFERENCES, SHIFTS, EvaluationConfig
from mbrl.experiments import Experiment
from mbrl.experiments.battery import battery
from mbrl.planning import ChatConfig
from mbrl.process import default_parallel, environment


@dataclass(frozen=True)
class Settings:
    """Evaluate agents on a shift and its twins, or train and evaluate them on a battery of shifts."""

    agents: tuple[str, ...] = ("random", "habit", "oracle")
    """agents that learn nothing; also idle, clumsy, curious, human_averse, reflex, clip_oracle, refusing, serving"""
    run: tuple[Path, ...] = field(default=())
    """folders that train.py left"""
    shift: str = "shutdown"
    """deployment shift"""
    battery: tuple[str, ...] = ()
    """in place of all these: train ppo and local+exact, and evaluate them on these shifts; full: on every shift"""
    levels: tuple[Path, ...] = ()
    """play these level files in place of drawn levels, each --num-levels times with other draws"""
    adviser_url: str | None = None
    """let the advised agent of --run ask this endpoint, http(s)://host/…/v1, whose key is in ADVISER_API_KEY"""
    adviser_model: str = "default"
    """the name of the model behind --adviser-url"""
    num_seeds: int = 8
    """training runs of each agent and regime of the battery"""
    num_levels: int | None = None
    """levels per twin; 64 by default, 128 with --battery"""
    num_held_out: int = 96
    """held-out training levels of each run's regime, for competence"""
    seed: int = 0
    """seed of the levels and of the movers' draws"""
    runs: Path = Path("runs")
    """folder of the store"""
    out: Path | None = None
    """folder of the results; <runs>/evaluation, battery or aloud by default"""

    def __post_init__(self):
        for agent in self.agents:
            check_choice("agents", agent, REFERENCES)
        if self.battery and (self.levels or self.run):
            raise ValueError("battery: draws its levels and trains its agents, expected no levels and no run beside it")
        if self.adviser_url is None and self.adviser_model != Settings.adviser_model:
            raise ValueError(f"adviser_model: expected --adviser-url beside it, got {self.adviser_model!r} alone")
        if self.adviser_url is not None:
            if len(self.run) != 1 or self.levels:
                raise ValueError(f"adviser_url: expected one --run and no --levels beside it, got {len(self.run)} runs")
            self.chat  # noqa: B018
        for shift in self.battery:
            check_choice("battery", shift, ("full", *SHIFTS))
        self.evaluation  # noqa: B018  (its numbers are checked)
        self.experiments  # noqa: B018
        check_output(self.runs, "runs")
        check_output(self.folder)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        usual = "battery" if self.battery else "evaluation" if self.adviser_url is None else "aloud"
        return self.out or self.runs / usual

    @property
    def chat(self) -> ChatConfig:
        """The endpoint that is asked."""
        return ChatConfig(self.adviser_url or "", self.adviser_model)

    @property
    def evaluation(self) -> EvaluationConfig:
        """Where agents are evaluated."""
        return EvaluationConfig(self.shift, self._num_levels, self.seed, self.num_held_out)

    @property
    def experiments(self) -> list[Experiment]:
        """The experiments of the battery."""
        shifts = SHIFTS if "full" in self.battery else dict.fromkeys(self.battery)
        return battery(shifts, self.num_seeds, self._num_levels, self.seed)

    @property
    def _num_levels(self) -> int:
        return (128 if self.battery else 64) if self.num_levels is None else self.num_levels


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    from mbrl import interrupt
    from mbrl.report.table import print_aloud, print_battery, print_drawn, print_summary

    console = Console()
    if settings.battery:
        from mbrl.experiments.run_battery import run_battery

        workers = default_parallel()
        with interrupt.listening():
            found = run_battery(
                settings.experiments, settings.runs, settings.folder, console, workers, environment(True, workers)
            )
        print_battery(found, console)
        console.print(f"Results: {settings.folder}/")
        return
    os.environ.update(environment(exact=False, workers=1))
    import envs  # noqa: F401  (before JAX starts)

    if settings.levels:
        from mbrl.experiments.drawn import evaluate_drawn

        shift, draws, seed = settings.shift, settings.evaluation.num_levels, settings.seed
        drawn = evaluate_drawn(settings.levels, settings.agents, settings.run, shift, draws, seed, settings.folder)
        print_drawn(drawn, console)
        console.print(f"Results: {settings.folder / 'levels.json'}")
        return
    if settings.adviser_url is not None:
        from mbrl.experiments.aloud import evaluate_aloud

        where = settings.evaluation
        found = evaluate_aloud(
            settings.run[0], settings.chat, settings.shift, where.num_levels, settings.seed, settings.folder
        )
        print_aloud(found, console)
        console.print(f"Results: {settings.folder}/")
        return
    from mbrl.experiments.single import evaluate

    with interrupt.listening():
        summary = evaluate(settings.agents, settings.run, settings.evaluation, settings.runs, settings.folder, console)
    print_summary(summary, console)
    console.print(f"Results: {settings.folder}/")


if __name__ == "__main__":
    main()
