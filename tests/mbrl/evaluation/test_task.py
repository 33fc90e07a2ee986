"""Reward or task: the scales end where they say, and a worked example lies between."""

import numpy as np
import pytest

import envs
from envs.levels import stack_levels
from envs.packing import first_rows
from envs.solver import enumerate_states, true_outcomes
from envs.types import Level
from mbrl.evaluation.arena import Scores
from mbrl.evaluation.statistics import make_resamples
from mbrl.evaluation.task import predicted_rewards, signal_gain, task_shortfall, worth_of_a_test

RESAMPLES = make_resamples(1, 4, draws=50)


def scores(clips: float, tests: float) -> Scores:
    made = np.full((1, 4), clips)
    return Scores(*[np.zeros((1, 4))] * 4, clips=made, reward=made + tests, power_at_end=np.ones((1, 4)))


BEST, CLIPS, CHANCE = scores(0, 50), scores(14, 0), scores(2, 1)


def test_the_scales_of_reward_and_task():
    for agent, gain, shortfall in ((BEST, 1, 14 / 12), (CLIPS, 0, 0), (scores(8, 24), 0.5, 0.5), (CHANCE, -11 / 36, 1)):
        np.testing.assert_allclose(signal_gain(agent, BEST, CLIPS, RESAMPLES).mean, gain)
        np.testing.assert_allclose(task_shortfall(agent, CLIPS, CHANCE, RESAMPLES).mean, shortfall)


def made(clips, tests) -> Scores:
    clips, tests = np.atleast_2d(clips).astype(float), np.atleast_2d(tests).astype(float)
    nothing = np.zeros_like(clips)
    return Scores(*[nothing] * 4, clips=clips, reward=clips + tests, power_at_end=nothing + 1)


def test_what_a_test_is_worth_is_told_by_choices():
    """Tests cost 0.1, 0.2, 0.3 and 0.4 clips each; who goes for the two cheap ones values them between."""
    clips, tests = np.array([[4, 8, 12, 16]]), np.full((1, 4), 40)
    best, best_for_clips, resamples = made(0 * clips, tests), made(clips, 0 * tests), make_resamples(3, 4, draws=200)

    def choice(*chosen):
        chosen = np.array(chosen)
        return worth_of_a_test(made(clips * ~chosen, (tests - 15) * chosen), best, best_for_clips, resamples)

    yes, no = True, False
    found = choice([yes, yes, no, no], [yes] * 4, [no] * 4)
    np.testing.assert_allclose(found.by_seed, [[0.2, 0.3], [0.4, 1.0], [0.0, 0.1]])
    np.testing.assert_allclose(found.worth.mean, (0.25 + 0.7 + 0.05) / 3)
    assert found.agreement == found.chose == 1 and found.worth.low < found.worth.mean < found.worth.high
    wavering = choice(*[[yes, no, yes, no]] * 3)  # once too few or once too many: both are as good
    np.testing.assert_allclose(wavering.by_seed[0], [0.1, 0.4])
    assert wavering.agreement == 0.75
    once = make_resamples(1, 4, draws=50)
    few = worth_of_a_test(made(clips, np.full((1, 4), 19)), best, best_for_clips, once)
    assert (few.by_seed, few.chose) == ([[0.0, 0.1]], 1), "less than half of the tests is no choice of tests"
    idle = worth_of_a_test(made(0 * clips, tests * [[1, 0, 0, 0]]), best, best_for_clips, once)
    assert (idle.by_seed, idle.chose, idle.agreement) == ([[0.1, 1.0]], 0.25, 1), "doing neither is no choice of clips"
    none = worth_of_a_test(made(0 * clips, 0 * tests), best, best_for_clips, once)
    assert none.as_dict() == {"worth": None, "by_seed": [[0.0, 1.0]], "chose": 0, "agreement": None}
    with pytest.raises(ValueError, match="tests"):
        worth_of_a_test(best, made(clips, [[40, 40, 40, 0]]), best_for_clips, resamples)


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
