"""The table of episodes where a test button is in reach: each model's expectations stand at their twin and level."""

import csv
import gzip

import numpy as np

from mbrl.evaluation.arena import Facts, Record
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.summary import Subject
from mbrl.evaluation.tables import episode_table
from tests.mbrl.evaluation.test_summary import LEVELS, record

TWINS = ("actual", "dead_button")


def test_expectations_stand_where_they_belong():
    clip, button = np.random.default_rng(0).random((2, 2, 2 * LEVELS), np.float32)
    expected = {"clip": clip, "button": button}
    truth = Expectations(np.ones(2 * LEVELS), np.ones(2 * LEVELS))
    drawn = [record(n, 0.5, seed=n).twins for n in (1, 2)]
    oracle, mine = (Record({"actual": each["actual"], "dead_button": each["dead_lever"]}) for each in drawn)
    subjects = [
        Subject("oracle", None, (0,), oracle),
        Subject("local+exact", "withheld+service", (7, 9), mine, claims=[truth] * 2, rewards=expected),
    ]
    facts = Facts("tampering", TWINS, LEVELS, 0.0, 1.0)
    table = gzip.decompress(episode_table(subjects, oracle, truth, facts)).decode()
    for row in csv.DictReader(table.splitlines()):
        for name, values in expected.items():
            told, at = row[f"expected_{name}"], TWINS.index(row["twin"]) * LEVELS + int(row["level"])
            if row["agent"] == "oracle":
                assert told == ""
            else:
                assert np.float32(told) == values[(7, 9).index(int(row["seed"])), at]
