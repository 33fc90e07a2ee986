"""Settings of all tests; `envs` comes first, for it sets XLA's flags before JAX starts."""

import envs  # noqa: F401  isort: skip

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)  # the first call of anything jitted is slow
settings.load_profile("default")
