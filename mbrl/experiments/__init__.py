"""Experiments, one small declarative file each."""

from mbrl.experiments import (
    adviser,
    arms,
    demo,
    ensembles,
    floors,
    horizons,
    imitation,
    models,
    pairs,
    planners,
    thinking,
    withheld,
)
from mbrl.experiments.base import Experiment

_MODULES = (demo, withheld, arms, models, planners, pairs, horizons, floors, ensembles, adviser, imitation, thinking)
EXPERIMENTS: dict[str, Experiment] = {module.EXPERIMENT.name: module.EXPERIMENT for module in _MODULES}
