"""Measure speed: of the environment against gymnax's Breakout, of models, planners and PPO, of reports."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from mbrl.cli import check_choice, check_positive_int, check_seed, one_line_errors, parse


@dataclass(frozen=True)
class Settings:
    """Measure speed, compilation left out: the median of repeats."""

    what: tyro.conf.Positional[tuple[str, ...]]
    """one or more of: env: environment steps a second beside gymnax's Breakout-MinAtar; models: steps imagined a second
    beside what matrix products alone would take; planners: decisions a second; ppo: steps trained a second beside a
    plain loop; plan: levels planned exactly a second; report: seconds, memory and size of a report of made-up scores,
    with the episodes of results/demo"""
    num_envs: int = 1024
    """env, models: environments side by side"""
    num_steps: int = 1000
    """env, models: ticks of each in one repeat"""
    num_levels: int = 32
    """plan: deployment levels, each planned for as all of its twins; report: levels a twin"""
    num_seeds: int = 32
    """report: seeds of each of five agents that learn, beside the oracle"""
    model_steps: int = 1000
    """plan: gradient steps of the model that is planned with"""
    repeats: int = 5
    """how often each is measured"""
    seed: int = 0

    def __post_init__(self):
        if not self.what:
            raise ValueError(f"what: expected one or more of {', '.join(MEASURES)}, got none")
        for what in self.what:
            check_choice("what", what, MEASURES)
        for name in ("num_envs", "num_steps", "num_levels", "num_seeds", "model_steps", "repeats"):
            check_positive_int(name, getattr(self, name))
        check_seed("seed", self.seed)


def measure_env(settings: Settings) -> None:
    """Print the steps a second of both environments, measured in turns, and their ratio.

    Both are run alike: default parameters, random actions, `vmap(env.step)` in a scan, which resets finished episodes
    (the factory's on a level drawn afresh). Observations are carried, so that they are computed at every step.
    """
    import gymnax
    import jax
    import numpy as np

    import envs  # noqa: F401  (before JAX starts)

    num_envs = settings.num_envs

    def make_runner(name):
        env, params = gymnax.make(name)

        @jax.jit
        def run(key, params):
            reset_key, scan_key = jax.random.split(key)
            obs, state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, num_envs), params)

            def tick(carry, tick_key):
                _, state, total = carry
                action_key, step_key = jax.random.split(tick_key)
                action = jax.random.randint(action_key, (num_envs,), 0, env.num_actions)
                step_keys = jax.random.split(step_key, num_envs)
                obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(step_keys, state, action, params)
                return (obs, state, total + reward.sum()), None

            return jax.lax.scan(tick, (obs, state, 0.0), jax.random.split(scan_key, settings.num_steps))[0]

        return lambda key: jax.block_until_ready(run(key, params))

    runners = {name: make_runner(name) for name in ("PaperclipFactory-v0", "Breakout-MinAtar")}
    seconds = _time_in_turns(runners, jax.random.split(jax.random.key(settings.seed), settings.repeats + 1))
    steps = num_envs * settings.num_steps
    ours, theirs = (np.median([steps / each for each in seconds[name]]) for name in runners)
    for name in runners:
        rates = sorted(steps / each / 1e6 for each in seconds[name])
        print(f"{name:<20} {np.median(rates):6.2f} M steps/s   (lowest {rates[0]:.2f}, highest {rates[-1]:.2f})")
    print(f"ratio                {ours / theirs:6.2f}")


def measure_plan(settings: Settings) -> None:
    """Print how many levels a second are planned for in a trained local model, its evaluation included."""
    import tempfile

    import numpy as np

    from envs.battery import SHIFTS, deployment_levels
    from mbrl.configs import LANE_DEFAULTS, ExperienceConfig, LocalConfig
    from mbrl.evaluation.playing import first_observations
    from mbrl.planners.exact import solve_observations
    from mbrl.planning import PlannerConfig
    from mbrl.train import planners_of, train_model
    from mbrl.training import Workplace
    from mbrl.trials import Training

    trial = Training(
        None, False, "local+exact", "withheld", (settings.seed,), (LANE_DEFAULTS["local+exact"],),
        ExperienceConfig(), LocalConfig(num_steps=settings.model_steps), PlannerConfig(), 1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = train_model(trial, Workplace(Path(folder))).model
    deployment = deployment_levels("shutdown", settings.num_levels, settings.seed)
    obs = np.concatenate([first_observations(deployment.bank(twin)) for twin in SHIFTS["shutdown"].twins])
    sizes: list[float] = []

    def plan(_):
        outcomes = planners_of(trial, model, [0]).planners[0].outcomes  # of a model that has seen nothing
        graph, _ = solve_observations(outcomes, obs, trial.planner)
        sizes.append(len(graph.rows) / len(obs))

    (seconds,) = _time_in_turns({"plan": plan}, range(settings.repeats + 1)).values()
    rates = sorted(len(obs) / each for each in seconds)
    print(f"{len(obs)} levels of {sizes[-1]:.0f} states each, on average")
    print(f"{np.median(rates):.1f} levels/s   (lowest {rates[0]:.1f}, highest {rates[-1]:.1f})")


def measure_report(settings: Settings) -> None:
    """Print the time, the process's largest memory and the size of a report, from scores to the page and its table."""
    import resource

    import numpy as np

    from envs.battery import SHIFTS
    from mbrl.evaluation.arena import Facts, Record, Scores
    from mbrl.evaluation.knowledge import Expectations
    from mbrl.evaluation.summary import Subject
    from mbrl.evaluation.tables import episode_table
    from mbrl.experiments.results import Measured, numbers
    from mbrl.report.html import read_results, render

    summary, episodes = read_results(Path(__file__).parents[1] / "results/demo")
    rng, levels, seeds = np.random.default_rng(settings.seed), settings.num_levels, tuple(range(settings.num_seeds))
    twins = tuple(SHIFTS["shutdown"].twins)
    expected = Expectations(*rng.uniform(0, 10, (2, levels * len(twins))))

    def scores(num_seeds: int) -> Scores:
        acts, amounts = rng.random((4, num_seeds, levels)) < 0.5, rng.random((3, num_seeds, levels)) * 10
        return Scores(*(*acts[:3], *amounts.round(), acts[3]))

    def subject(agent: str, regime: str | None = None) -> Subject:
        mine = seeds if regime else (0,)
        record = Record({twin: scores(len(mine)) for twin in twins})
        if regime is None:
            return Subject(agent, regime, mine, record)
        held_out, claims = rng.random((len(mine) + 1, levels)), [expected] * len(mine) if "+" in agent else []
        return Subject(agent, regime, mine, record, held_out[1:], held_out[:1], claims)

    learners = [("ppo", "withheld"), ("ppo", "open")] + [("local+exact", r) for r in ("production", "withheld", "open")]
    subjects = [subject("oracle"), *(subject(*learner) for learner in learners)]
    measured = Measured(subjects, subjects[0].record, expected, Facts("shutdown", twins, levels, 0, 1))
    pages = []

    def report(_):
        table = episode_table(*measured)
        pages.append((render({**summary, **numbers(measured, summary["audit"])}, episodes), table))

    (seconds,) = _time_in_turns({"report": report}, range(settings.repeats + 1)).values()
    page, table = pages[0]
    print(f"{sum(len(each.seeds) for each in subjects) * levels * len(twins):,} episodes, {len(episodes)} shown")
    print(f"{np.median(seconds):.1f} s   (lowest {min(seconds):.1f}, highest {max(seconds):.1f})")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB at most")
    print(f"{len(page.encode()) / 1e6:.2f} MB report, {len(table) / 1e6:.2f} MB table of episodes")


def _time_in_turns(runners, inputs):
    """Run each of `runners` on each of `inputs`, in turns; return the seconds each took, without the first input's."""
    import time

    seconds: dict[str, list[float]] = {name: [] for name in runners}
    for i, each in enumerate(inputs):
        for name, run in runners.items():
            start = time.perf_counter()
            run(each)
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def measure_models(settings: Settings) -> None:
    """Print the pace of every model."""
    import envs  # noqa: F401  (before JAX starts)
    from mbrl.speed.models import paces

    print(f"{'model':<10} {'steps/s':>12} {'parameters':>11} {'FLOPs/step':>11}  of the matmul rate")
    for pace in paces(settings.num_envs, settings.num_steps, settings.repeats):
        print(f"{pace.model:<10} {pace.steps:12,.0f} {pace.num_parameters:11,} {pace.flops:11,.0f}  {pace.share:.2f}")


def measure_planners(settings: Settings) -> None:
    """Print the decisions a second of every planner."""
    import envs  # noqa: F401  (before JAX starts)
    from mbrl.speed.planners import decisions

    print(f"{'planner':<10} {'episodes':>8} {'decisions/s':>12}  time ÷ its model's steps alone")
    for row in decisions((1, 64, 1024), settings.repeats):
        overhead = "" if row.overhead is None else f"{row.overhead:.1f}"
        print(f"{row.planner:<10} {row.num_episodes:8,} {row.decisions:12,.0f}  {overhead}")


def measure_ppo(settings: Settings) -> None:
    """Print the steps a second of training PPO on CartPole, beside a plain loop; and their ratio."""
    import gymnax
    import jax
    import numpy as np

    import envs  # noqa: F401  (before JAX starts)
    from mbrl.agents import ppo
    from mbrl.configs import PPOConfig
    from mbrl.speed import plain_ppo
    from mbrl.types import Rates

    env, params = gymnax.make("CartPole-v1")
    config = PPOConfig(
        total_steps=200_000, num_envs=32, num_steps=128, num_epochs=4, num_minibatches=8, hidden_sizes=(64, 64)
    )
    ours, plain = jax.jit(ppo.make_train(config, env)), jax.jit(plain_ppo.make_train(config, env))
    runners = {
        "mbrl.agents.ppo": lambda key: jax.block_until_ready(ours(key, params, Rates(2.5e-3, 0.99)).curve),
        "plain loop": lambda key: jax.block_until_ready(plain(key, params, 2.5e-3, 0.99)),
    }
    seconds = _time_in_turns(runners, jax.random.split(jax.random.key(settings.seed), settings.repeats + 1))
    steps = config.num_updates * config.batch_size
    rates = {name: np.median([steps / each for each in seconds[name]]) for name in runners}
    for name, rate in rates.items():
        print(f"{name:<16} {rate:12,.0f} steps/s")
    print(f"ratio            {rates['mbrl.agents.ppo'] / rates['plain loop']:12.2f}")


MEASURES = {
    "env": measure_env,
    "models": measure_models,
    "planners": measure_planners,
    "ppo": measure_ppo,
    "plan": measure_plan,
    "report": measure_report,
}


@one_line_errors()
def main() -> None:
    """Parse, call, print."""
    settings = parse(Settings)
    for what in settings.what:
        MEASURES[what](settings)


if __name__ == "__main__":
    main()
