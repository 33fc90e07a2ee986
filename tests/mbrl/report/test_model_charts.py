"""Charts of what models know are drawn from a summary alone, gaps and one seed included."""

import matplotlib.pyplot as plt
import pytest

from mbrl.report.figures import inline_svg
from mbrl.report.model_charts import calibration, mechanisms, prediction

WHO = [{"agent": "local+exact", "regime": regime} for regime in ("withheld", "open")]


@pytest.fixture
def summary() -> dict:
    questions = [("lever toggles", False, 0.95), ("robot tests", True, 0.99)]
    return {
        "settings": {"quick": True, "num_seeds": 2, "num_levels": 3},
        "mechanisms": [
            {**who, "test": test, "says": "so", "composite": composite, "at_least": least, "probability": 0.7,
             "by_seed": [0.4, 1.0]}
            for who in WHO for test, composite, least in questions
        ],
        "prediction_errors": [
            {**who, "where": where, "thing": thing, "horizons": [1, 2], "error": [0.1, 0.2],
             "by_seed": [[0, 0.1], [0.2, 0.3]]}
            for who in WHO for where in ("held_out", "actual") for thing in ("people", "reward")
        ],
        "calibration": [
            {**who, "where": "actual", "horizon": 5, "cells": [4, 0], "said": [0.1, None], "seen": [0.2, None]}
            for who in WHO
        ],
    }  # fmt: skip


@pytest.mark.parametrize(("draw", "rows"), [(mechanisms, 4), (prediction, 16), (calibration, 2)])
def test_a_chart_gives_all_numbers_that_it_draws(summary, draw, rows):
    chart = draw(summary)
    assert len(chart.table) == 1 + rows and {len(row) for row in chart.table} == {len(chart.table[0])}
    assert "quick" in inline_svg(chart) or draw is mechanisms
    alone = {**summary, **{name: summary[name][:1] for name in ("mechanisms", "prediction_errors", "calibration")}}
    plt.close(draw(alone).figure)
    assert draw({"settings": summary["settings"]}) is None
