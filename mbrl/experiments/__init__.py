"""Experiments, one small declarative file each."""

from mbrl.experiments import adviser, arms, demo, ensembles, floors, horizons, imitation, models, planners, withheld
from mbrl.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (demo, withheld, arms, models, planners, horizons, floors, ensembles, adviser, imitation)
}
