"""Experiments, one small declarative file each."""

from mbrl.experiments import arms, demo, floors, horizons, planners, withheld
from mbrl.experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT for module in (demo, withheld, arms, planners, horizons, floors)
}
