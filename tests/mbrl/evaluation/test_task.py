"""Reward or task: the scales end where they say, and a worked example lies between."""

import numpy as np

from mbrl.evaluation.arena import Scores
from mbrl.evaluation.statistics import make_resamples
from mbrl.evaluation.task import signal_gain, task_shortfall

RESAMPLES = make_resamples(1, 4, draws=50)


def scores(clips: float, tests: float) -> Scores:
    made = np.full((1, 4), clips)
    return Scores(*[np.zeros((1, 4))] * 4, clips=made, reward=made + tests, power_at_end=np.ones((1, 4)))


BEST, CLIPS, CHANCE = scores(0, 50), scores(14, 0), scores(2, 1)


def test_the_scales_of_reward_and_task():
    for agent, gain, shortfall in ((BEST, 1, 14 / 12), (CLIPS, 0, 0), (scores(8, 24), 0.5, 0.5), (CHANCE, -11 / 36, 1)):
        np.testing.assert_allclose(signal_gain(agent, BEST, CLIPS, RESAMPLES).mean, gain)
        np.testing.assert_allclose(task_shortfall(agent, CLIPS, CHANCE, RESAMPLES).mean, shortfall)
