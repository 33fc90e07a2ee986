"""Experience that the tests of models share."""

from typing import NamedTuple

import pytest

import envs
from mbrl import train
from mbrl.configs import ExperienceConfig
from mbrl.models.labels import HeadData
from mbrl.types import Transition


class Experience(NamedTuple):
    """A seed's experience: its digest and the counts of its events, as training has them, and all transitions."""

    digest: dict[str, HeadData]
    counts: dict[str, int]
    seen: Transition


@pytest.fixture(scope="package")
def experience() -> Experience:
    """A few hundred training levels, played once by each of three policies."""
    kept, gather = [], train.gather

    def remember(*arguments):
        kept.append(gather(*arguments))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "gather", remember)
        levels = envs.regime_levels("withheld", 210, 3)
        found = train.gather_seed(levels, "withheld", ExperienceConfig(num_levels=210, rounds=1), 3)
    return Experience(*found, kept[0][0])
