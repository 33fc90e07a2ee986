"""A sweep of small real trials (PPO and world models, without evaluation), as a program that can be killed.

python -m tests.faults.driver ROOT NUM_TRIALS BACKEND MAX_PARALLEL
"""

import sys
from pathlib import Path

from rich.console import Console

from mbrl import interrupt
from mbrl.configs import ExperienceConfig, LocalConfig, Options, PPOConfig
from mbrl.planning import PlannerConfig
from mbrl.process import environment
from mbrl.sweep import sweep
from mbrl.trials import Training, TrainingLevels

PPO = PPOConfig(
    total_steps=24 * 128, num_levels=4, num_envs=16, num_steps=8, num_minibatches=2, hidden_sizes=(16,),
    updates_per_chunk=1,
)  # fmt: skip
LOCAL = LocalConfig(hidden_size=16, embedding_size=4, num_steps=30, batch_sizes=(8, 8, 8), steps_per_chunk=5)


def small_trial(number: int, agent: str = "ppo", num_seeds: int = 1, width: int = 1) -> Training:
    """Return a trial that takes a second once its programs are compiled."""
    return Training(
        None,
        True,
        agent,
        "production",
        seeds=tuple(range(number, number + num_seeds)),
        rates=((1e-3, 0.97),) * num_seeds,
        experience=ExperienceConfig(4, rounds=1),
        learner=PPO if agent == "ppo" else LOCAL,
        planner=PlannerConfig(),
        width=width,
    )


def small_trials(count: int) -> list[Training]:
    """Return trials of both agents in turn."""
    return [small_trial(number, ("ppo", "local+exact")[number % 2]) for number in range(count)]


def all_names(count: int) -> set[str]:
    """Return the names of these trials, and of the levels that they train on."""
    trials = small_trials(count)
    numbers = {"ppo": PPO.num_levels, "local+exact": 4}
    levels = [TrainingLevels(None, True, t.regime, numbers[t.agent], seed) for t in trials for seed in t.seeds]
    return {trial.identity for trial in (*trials, *levels)}


def main() -> None:
    """Run the sweep and print a line for every digest; exit status 75 if it was stopped."""
    root, count, backend, parallel = sys.argv[1:]
    variables = environment(True, int(parallel))
    with interrupt.listening():
        try:
            trials = small_trials(int(count))
            done = sweep(trials, Path(root), Options(save_every=0), backend, int(parallel), variables, Console())
        except interrupt.Stopped:
            raise SystemExit(interrupt.EXIT_STATUS) from None
    for number, digest in sorted(done.items()):
        print("digest", number, digest)
    raise SystemExit(len(done) < int(count))


if __name__ == "__main__":
    main()
