"""Experience that the tests of models share."""

import pytest

from mbrl.experience import ExperienceConfig
from mbrl.train import SeedData, gather_seed
from mbrl.types import Transition


@pytest.fixture(scope="package")
def experience() -> tuple[SeedData, Transition]:
    """A few hundred training levels, played once by each of three policies, and all transitions."""
    kept = []
    data = gather_seed("withheld", ExperienceConfig(num_levels=210, rounds=1), 3, lambda _, seen: kept.append(seen))
    return data, kept[0]
