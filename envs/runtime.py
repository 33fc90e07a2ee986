"""Process-wide settings that must stand before JAX starts its backend.

jaxlib 0.10.2 can deadlock on CPUs of two cores in long vmapped programs (all threads wait, no error). Switching its
concurrency-optimised scheduler off avoids that at no visible cost. An unknown XLA flag aborts the process, so the flag
is set only for versions that are known to accept it, and a user's own value is kept.
"""

import os
from importlib.metadata import version

_FLAG = "xla_cpu_enable_concurrency_optimized_scheduler"
_VERSIONS_WITH_FLAG = ("0.10.",)


def prepare() -> None:
    """Set the XLA flags of this process; call before JAX is imported."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _FLAG not in flags and version("jaxlib").startswith(_VERSIONS_WITH_FLAG):
        os.environ["XLA_FLAGS"] = f"{flags} --{_FLAG}=false".strip()
