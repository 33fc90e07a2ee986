"""Learning curves side by side: the area under them, and a mean over the steps that all seeds have."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from mbrl.report.curves import COLUMNS, area, curves


def test_the_area_is_the_mean_return_while_learning():
    assert area(np.array([10, 20]), np.array([4.0, 4.0])) == pytest.approx(3.0)  # from 0 at the beginning
    assert area(np.array([10, 20]), np.array([0.0, 8.0])) == pytest.approx(2.0)
    assert area(np.array([5, 10, 20]), np.array([2.0, 4.0, 4.0])) == pytest.approx((5 + 15 + 40) / 20)


def test_a_chart_has_a_line_for_every_seed_and_one_for_their_mean():
    told = {("ppo", 0): [(10, 1.0), (20, 3.0)], ("ppo", 1): [(20, 5.0), (30, 7.0)], ("dreamer", 0): [(10, 2.0)]}
    rows = [
        dict(zip(COLUMNS, ("Catch", agent, seed, step, value), strict=True))
        for (agent, seed), line in told.items()
        for step, value in line
    ]
    chart = curves("Catch", rows)
    lines = [tuple(map(tuple, line.get_xydata())) for line in chart.figure.axes[0].lines]
    assert lines == [((10, 1), (20, 3)), ((20, 5), (30, 7)), ((20, 4),), ((10, 2),), ((10, 2),)]
    assert [text.get_text() for text in chart.figure.legends[0].get_texts()][1] == "dreamer: 1 on average (1 seed)"
    assert chart.table[0] == COLUMNS and chart.table[1:] == [tuple(row.values()) for row in rows]
    plt.close(chart.figure)
