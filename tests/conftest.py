"""Settings of all tests; `envs` comes first, for it sets XLA's flags before JAX starts.

What one test compiles no other compiles again, in whatever process it runs.
"""

import atexit
import os
import shutil
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

import envs  # noqa: F401  isort: skip

from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True)  # the first call of anything jitted is slow
settings.load_profile("default")
