"""What several files ask about: levels of `withheld`, and what is seen there."""

import pytest

import envs
from envs import events
from envs.regimes import regime_levels
from tests.envs.floors import NUM_LEVELS, experience


@pytest.fixture(scope="session")
def withheld() -> list[envs.Level]:
    return regime_levels("withheld", NUM_LEVELS, seed=3)


@pytest.fixture(scope="session")
def counts(withheld) -> events.Counts:
    return events.count_events(*experience(withheld))
