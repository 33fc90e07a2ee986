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
    unfit,
    withheld,
    zoo,
)
from mbrl.experiments.base import Experiment

_PLANNED = (demo, withheld, arms, models, planners, pairs, unfit, horizons, floors, ensembles)
_OTHERS = (adviser, imitation, zoo, thinking)
EXPERIMENTS: dict[str, Experiment] = {module.EXPERIMENT.name: module.EXPERIMENT for module in (*_PLANNED, *_OTHERS)}
