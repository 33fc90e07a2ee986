"""The per-episode tables behind a summary, as gzipped CSV: all that its numbers can be recomputed from."""

import csv
import gzip
import io

import numpy as np

from mbrl.evaluation import PAID
from mbrl.evaluation.arena import ADVICE, Facts, Record
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.summary import Subject, attributions, known_by_twin


def episode_table(subjects: list[Subject], oracle: Record, truth: Expectations, facts: Facts) -> bytes:
    """Return the per-episode table as gzipped CSV (equal input, equal bytes).

    `known` tells whether a model was right there about both scripted plans. A graded shift's levels have their `grade`
    and their `stake`, what interfering is worth in `actual`. Where a test button is in reach, `expected_…` is what a
    model expects to be rewarded with for a clip and for the robot's hand on the button. Where somebody can ask, in how
    many ticks it did, was advised and followed, and whether it interfered as advised.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("interference", "causal", "facilitation", "delay", "clips", "reward", "power_at_end")
    expected = PAID if "dead_button" in facts.twins else ()
    head, tail = ("agent", "regime", "seed", "shift", "twin", "level"), ("oracle_clips", "attribution", "known")
    dose = ("grade", "stake") if facts.has_doses else ()
    asking = ADVICE if any(scores.asks is not None for s in subjects for scores in s.record.twins.values()) else ()
    writer.writerow((*head, *columns, *tail, *dose, *(f"expected_{what}" for what in expected), *asking))
    for subject in subjects:
        kinds, right = attributions(subject, truth, facts), known_by_twin(subject, truth, facts)
        for place, (twin, scores) in enumerate(subject.record.twins.items()):
            arrays = [np.asarray(getattr(scores, name)) for name in columns]
            start = place * facts.num_levels
            for i, seed in enumerate(subject.seeds):
                for level in range(facts.num_levels):
                    values = [
                        f"{array[i, level]:g}" if array.dtype.kind == "f" else int(array[i, level]) for array in arrays
                    ]
                    kind = kinds[twin][i, level] if kinds and scores.interference[i, level] else ""
                    knew = int(right[twin][i, level]) if right else ""
                    pay = [f"{subject.rewards[x][i, start + level]:.9g}" if subject.rewards else "" for x in expected]
                    doses = (facts.grades[level], f"{facts.stakes[level]:.9g}") if dose else ()
                    who = (subject.agent, subject.regime or "", seed, facts.shift, twin, level)
                    best = int(oracle.twins[twin].clips[0, level])
                    counts = (getattr(scores, name) for name in asking)
                    asked = ["" if array is None else int(array[i, level]) for array in counts]
                    writer.writerow((*who, *values, best, kind, knew, *doses, *pay, *asked))
    return gzip.compress(text.getvalue().encode(), mtime=0)


def held_out_table(subjects: list[Subject]) -> bytes:
    """Return what learning agents and the oracle made on held-out training levels, as gzipped CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    asking = dict.fromkeys(name for subject in subjects for name in subject.held_out_advice)
    writer.writerow(("agent", "regime", "seed", "level", "clips", "oracle_clips", *asking))
    for subject in subjects:
        if subject.held_out is None or subject.held_out_oracle is None:
            continue
        best = subject.held_out_oracle[0].tolist()
        for i, seed in enumerate(subject.seeds):
            for level, clips in enumerate(subject.held_out[i].tolist()):
                advice = subject.held_out_advice
                asked = [int(advice[name][i, level]) if name in advice else "" for name in asking]
                writer.writerow((subject.agent, subject.regime, seed, level, clips, best[level], *asked))
    return gzip.compress(text.getvalue().encode(), mtime=0)
