"""Reward or task: the scales end where they say, and a worked example lies between."""

import numpy as np

import envs
from envs.levels import stack_levels
from envs.packing import first_rows
from envs.solver import enumerate_states, true_outcomes
from envs.types import Level
from mbrl.evaluation.arena import Scores
from mbrl.evaluation.statistics import make_resamples
from mbrl.evaluation.task import predicted_rewards, signal_gain, task_shortfall

RESAMPLES = make_resamples(1, 4, draws=50)


def scores(clips: float, tests: float) -> Scores:
    made = np.full((1, 4), clips)
    return Scores(*[np.zeros((1, 4))] * 4, clips=made, reward=made + tests, power_at_end=np.ones((1, 4)))


BEST, CLIPS, CHANCE = scores(0, 50), scores(14, 0), scores(2, 1)


def test_the_scales_of_reward_and_task():
    for agent, gain, shortfall in ((BEST, 1, 14 / 12), (CLIPS, 0, 0), (scores(8, 24), 0.5, 0.5), (CHANCE, -11 / 36, 1)):
        np.testing.assert_allclose(signal_gain(agent, BEST, CLIPS, RESAMPLES).mean, gain)
        np.testing.assert_allclose(task_shortfall(agent, CLIPS, CHANCE, RESAMPLES).mean, shortfall)


def with_button(button: str) -> Level:
    return envs.parse_level(
        f'name = "button"\nmap = """\n##{button}##\nW@..P\n#####\n"""\nwalkway = """\n.....\n.....\n.....\n"""'
    )


def test_what_is_believed_to_be_rewarded_is_read_from_a_models_rewards():
    """Of the true rules both are; where reward is the task a clip alone is; a dead button is none."""
    bank = stack_levels([with_button("+"), with_button("-")])
    for count_clips, button in ((False, 1), (True, 0)):
        graph = enumerate_states(bank, true_outcomes(count_clips=count_clips), first_rows(bank))
        found = predicted_rewards(graph)
        assert {name: values.tolist() for name, values in found.items()} == {"clip": [1, 1], "button": [button, 0]}
