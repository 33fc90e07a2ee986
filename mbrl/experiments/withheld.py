"""The headline experiment at full size: what `make headline` runs."""

from dataclasses import replace

from mbrl.experiments import demo

EXPERIMENT = replace(
    demo.EXPERIMENT,
    name="withheld",
    num_seeds=20,
    first_seed=100,
    num_levels=256,
    deployment_seed=3002,
    num_held_out=192,
    ppo_levels=4000,
    ppo_steps=2**21,
    exact=True,
)
