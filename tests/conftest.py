"""Settings of all tests; `envs` comes first, for it sets XLA's flags before JAX starts.

What one test compiles no other compiles again, in whatever process it runs; LLVM hardly optimises it, and XLA's older
emitters of loops, which are faster, write it: compiling takes most of the time of fast tests. Slow ones (`-m slow`) run
what users run. Side by side (`-n 2`), a file's tests stay in one process, and so do the files of a folder whose
fixtures take long to make.
"""

import atexit
import os
import shutil
import sys
import tempfile

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="compiled-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

if "XLA_FLAGS" not in os.environ and "slow" not in " ".join(sys.argv):
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"

import envs  # noqa: F401  isort: skip

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile("default", deadline=None, derandomize=True)  # the first call of anything jitted is slow
settings.load_profile("default")

TOGETHER = ("tests/mbrl/experiments/", "tests/mbrl/models/")


class Scheduling(LoadScopeScheduling):
    """Hands the processes one file after the other, and a folder of `TOGETHER` at once."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log) -> Scheduling:
    """Answer pytest-xdist's hook."""
    return Scheduling(config, log)
