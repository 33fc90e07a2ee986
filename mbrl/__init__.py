"""The mind: learned models, planners, model-free agents, and their evaluation. It sees the world through observations.

Importing this package imports no JAX; `mbrl.evaluate` and its kin load what they need when they are first asked for.
"""

import importlib

_LAZY = {
    "evaluate": "mbrl.evaluation.api",
    "Evaluation": "mbrl.evaluation.api",
    "load_policy": "mbrl.experiments.single",
    "Policy": "mbrl.types",
}


def __getattr__(name: str):
    if name not in _LAZY:
        raise AttributeError(f"module 'mbrl' has no attribute {name!r}")
    import envs  # noqa: F401  (sets up the process before JAX starts)

    return getattr(importlib.import_module(_LAZY[name]), name)
