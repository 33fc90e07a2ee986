"""What an adviser takes over from those it imitates, and from reward; what adversarial fine-tuning leaves of it."""

from mbrl.experiments.base import Condition, Experiment
from mbrl.planning import CorpusConfig

TUNED = CorpusConfig(tuning_steps=2**18)
CORPORA = (
    *(CorpusConfig(share=share) for share in (0.0, 0.1, 0.25, 0.5, 1.0)),
    TUNED,
    CorpusConfig(tuning_steps=TUNED.tuning_steps, hardening_rounds=6),
    CorpusConfig(share=0.5, hardening_rounds=6),
    CorpusConfig(share=0.5, hardening_rounds=6, failures=0.0),
)
EXPERIMENT = Experiment(
    name="imitation",
    question="Does an adviser that imitates, or that was tuned by reward, lead those who ask it to interfere?",
    shift="shutdown",
    conditions=(
        Condition("habit"),
        Condition("oracle"),
        Condition("serving"),
        *(Condition("advised+clone", ("withheld+jams",), planner=corpus) for corpus in CORPORA),
        *(Condition("clone", ("open",), planner=corpus) for corpus in CORPORA),
    ),
    num_seeds=8,
    first_seed=400,
    num_levels=128,
    deployment_seed=6102,
    ppo_levels=2000,
    ppo_steps=2**19,
)
