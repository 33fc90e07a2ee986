"""Train one agent on one regime, all seeds in one program; evaluate.py evaluates what it leaves in the store.

With --env it learns and plays a gymnax environment instead, and is scored at once.

Stopped (Ctrl-C, SIGTERM: exit status 75) or killed, the same command goes on from the last checkpoint.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from mbrl.cli import (
    check_choice,
    check_output,
    check_positive_int,
    check_range,
    check_seed,
    one_line_errors,
    parse,
)
from mbrl.configs import (
    LANE_DEFAULTS,
    LEARNERS,
    POLICIES,
    REGIMES,
    WIDTH,
    ExperienceConfig,
    Options,
    PPOConfig,
)
from mbrl.controllers import CONTROLLERS, EnumeratedConfig, ObservedConfig, default_controller, default_learner
from mbrl.experiments.base import MOST_SEEDS
from mbrl.model_free import CloneConfig, QConfig
from mbrl.planning import default_planner
from mbrl.process import environment
from mbrl.trials import Control, Training


@dataclass(frozen=True)
class Settings:
    """Train one agent on one regime, or on a gymnax environment."""

    agent: tyro.conf.Positional[str]
    """ppo, recurrent_ppo, drc, pqn, dqn, dreamer, latent+mcts, clone, advised+adviser (advised+planner, …),
    model+planner (local+exact, …); with --env: true+exact"""
    regime: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(help=f"what training shows: {', '.join(REGIMES)}; none with --env")
    ] = ""
    env: str | None = None
    """gymnax environment, such as FourRooms-misc; planning takes observations that tell finitely many states apart"""
    num_episodes: int = 256
    """with --env: episodes that every seed plays at the end"""
    out: Path | None = None
    """with --env: folder that gets what every seed earned, and learning curves; what other agents earned stays there"""
    num_seeds: int = 4
    """training runs, each with its own levels, experience and initialisation"""
    first_seed: int = 0
    """seed of the first of them"""
    num_levels: int = 600
    """levels that each seed trains on"""
    steps: int | None = None
    """environment steps of who learns as it acts, gradient steps of a world model; the agent's own number by default"""
    learning_rate: float | None = None
    """of Adam; the agent's own by default"""
    gamma: float | None = None
    """discount per step, of returns or of the planner; the agent's own by default"""
    width: int = WIDTH
    """seeds that one program holds side by side on a device"""
    runs: Path = Path("runs")
    """folder of the store"""
    exact: bool = False
    """numbers that do not depend on the number of cores, nor change from run to run on a GPU"""
    devices: int = 1
    """devices that seeds are spread over"""
    distributed: bool = False
    """join the processes of a run on several hosts; needs an address unless Slurm or a TPU pod tells it"""
    address: str | None = None
    """host:port of the first process"""
    num_processes: int | None = None
    """processes of the run"""
    process: int | None = None
    """number of this process"""
    save_every: float = 60.0
    """seconds between checkpoints"""
    tensorboard: bool = False
    """show learning curves in <runs>/tensorboard too"""
    wandb: bool = False
    """and in Weights & Biases, offline unless WANDB_MODE=online"""

    def __post_init__(self):
        check_choice("agent", self.agent, CONTROLLERS if self.env else LEARNERS)
        if self.env is None and not self.regime:
            raise ValueError(f"regime: expected one of {', '.join(REGIMES)}, or --env NAME, got neither")
        if self.env is None:
            check_choice("regime", self.regime, REGIMES)
        else:
            for name in ("regime", "num_levels", "width", "devices", "distributed"):
                if getattr(self, name) != getattr(Settings, name):
                    raise ValueError(f"{name}: expected none with --env, got {getattr(self, name)!r}")
        for name in ("num_seeds", "num_levels", "num_episodes", "width", "devices"):
            check_positive_int(name, getattr(self, name))
        check_range("num_seeds", self.num_seeds, 1, MOST_SEEDS)
        if self.steps is not None:
            check_positive_int("steps", self.steps)
        if self.learning_rate is not None:
            check_range("learning_rate", self.learning_rate, 1e-8, 1.0)
        if self.gamma is not None:
            check_range("gamma", self.gamma, 0.0, 0.9999)
        check_range("save_every", self.save_every, 0.0)
        for name in ("address", "num_processes", "process"):
            if getattr(self, name) is not None and not self.distributed:
                raise ValueError(f"{name}: expected --distributed with it, got {getattr(self, name)} alone")
        if self.num_processes is not None:
            check_positive_int("num_processes", self.num_processes)
        if self.process is not None:
            check_range("process", self.process, 0, (self.num_processes or 2**32) - 1)
        check_seed("first_seed", self.first_seed)
        check_seed("first_seed", self.first_seed + self.num_seeds - 1)
        self.control if self.env else self.trial  # noqa: B018  (every setting is checked)
        check_output(self.runs, "runs")
        if self.out is not None:
            check_output(self.out)
            if self.env is None:
                raise ValueError(f"out: expected --env with it, got {str(self.out)!r} alone")

    @property
    def trial(self) -> Training:
        """What to compute."""
        learner = default_learner(self.agent)
        if isinstance(learner, PPOConfig | QConfig | CloneConfig):
            learner = replace(learner, num_levels=self.num_levels)
        if self.steps is not None:
            name = "clone_steps" if self.agent == "clone" else "total_steps" if self.agent in POLICIES else "num_steps"
            learner = replace(learner, **{name: self.steps})
        learning_rate, gamma = LANE_DEFAULTS[self.agent]
        rates = (
            learning_rate if self.learning_rate is None else self.learning_rate,
            gamma if self.gamma is None else self.gamma,
        )
        return Training(
            None,
            self.exact,
            self.agent,
            self.regime,
            seeds=tuple(range(self.first_seed, self.first_seed + self.num_seeds)),
            rates=(rates,) * self.num_seeds,
            experience=ExperienceConfig(self.num_levels),
            learner=learner,
            planner=default_planner(self.agent),
            width=self.width,
        )

    @property
    def control(self) -> Control:
        """What to compute on a gymnax environment."""
        learner, planner = default_controller(self.agent)
        if self.steps is not None:
            name = {ObservedConfig: "num_steps", EnumeratedConfig: "num_draws"}.get(type(learner), "total_steps")
            learner = replace(learner, **{name: self.steps})
        return Control(
            self.num_episodes,
            self.exact,
            self.env or "",
            self.agent,
            seeds=tuple(range(self.first_seed, self.first_seed + self.num_seeds)),
            learning_rate=self.learning_rate or (2.5e-3 if self.agent in ("ppo", "recurrent_ppo") else 1e-3),
            gamma=0.99 if self.gamma is None else self.gamma,
            learner=learner,
            planner=planner,
        )


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    from rich.console import Console

    os.environ.update(environment(settings.exact, 1, settings.devices // (settings.num_processes or 1)))
    if settings.distributed:
        from mbrl.devices import join_hosts

        join_hosts(settings.address, settings.num_processes, settings.process)
    import envs  # noqa: F401  (before JAX starts)
    from mbrl import interrupt
    from mbrl.experiments.control import control
    from mbrl.experiments.single import train

    options = Options(settings.devices, settings.save_every, settings.tensorboard, settings.wandb)
    if settings.env:
        with interrupt.listening():
            control(settings.control, settings.runs, options, Console(), settings.out)
        return
    with interrupt.listening():
        manifest = train(settings.trial, settings.runs, options, Console())
    if manifest is not None:
        print(f"Trained: {manifest.folder}/  (evaluate it: python scripts/evaluate.py --run {manifest.folder})")


if __name__ == "__main__":
    main()
