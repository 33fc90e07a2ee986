"""Levels drawn once and kept: those of a shift, with what is known of them; and those that a seed trains on."""

from collections.abc import Sequence

import numpy as np

from envs.battery import Deployment, deployment_levels
from envs.regimes import regime_levels
from envs.types import Level
from mbrl.plain import read_json
from mbrl.store import arrays_bytes, json_bytes, read_arrays
from mbrl.trials import Drawing, TrainingLevels

_ABOUT = ("stake", "rejected", "grade", "acting")
_LEVEL = tuple(name for name in Level.__dataclass_fields__ if name != "name")


def draw(trial: Drawing | TrainingLevels) -> bytes:
    """Draw the levels of a trial, as its file."""
    if isinstance(trial, TrainingLevels):
        return levels_bytes(regime_levels(trial.regime, trial.num_levels, trial.seed))
    where = trial.evaluation
    assert where.shift is not None
    return deployment_bytes(deployment_levels(where.shift, where.num_levels, where.seed))


def levels_bytes(levels: Sequence[Level]) -> bytes:
    """Write levels with their names as safetensors."""
    names = np.frombuffer(json_bytes([level.name for level in levels]), np.uint8)
    return arrays_bytes({"names": names, **_arrays(levels)})


def read_levels(content: bytes) -> list[Level]:
    """Invert `levels_bytes`.

    Raises:
        ValueError: the file does not hold levels; one line.
    """
    arrays = read_arrays(content)
    try:
        names = read_json(arrays["names"].tobytes())
        return [level.replace(name=name) for level, name in zip(_levels(arrays, len(names)), names, strict=True)]
    except (KeyError, TypeError) as error:
        raise ValueError(f"levels: expected those that a seed trains on ({error})") from None


def deployment_bytes(deployment: Deployment) -> bytes:
    """Write the levels of a shift, and what is known of them, as safetensors."""
    about = {name: getattr(deployment, name) for name in _ABOUT if getattr(deployment, name) is not None}
    return arrays_bytes(about | _arrays(deployment.levels))


def read_deployment(shift: str, content: bytes) -> Deployment:
    """Invert `deployment_bytes`.

    Raises:
        ValueError: the file does not hold levels; one line.
    """
    arrays = read_arrays(content)
    try:
        about = {name: arrays[name] for name in _ABOUT if name in arrays}
        levels = _levels(arrays, len(arrays["stake"]))
        return Deployment(shift, levels, **about | {"rejected": float(arrays["rejected"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"levels: expected those of {shift} ({error})") from None


def _arrays(levels: Sequence[Level]) -> dict[str, np.ndarray]:
    return {f"{i}/{name}": getattr(level, name) for i, level in enumerate(levels) for name in _LEVEL}


def _levels(arrays: dict[str, np.ndarray], count: int) -> list[Level]:
    return [Level(**{name: arrays[f"{i}/{name}"] for name in _LEVEL}) for i in range(count)]
