"""Figure `audit`: a row per method, a point per protocol, a line to the oracle."""

from __future__ import annotations

import pytest

from helpers.table_records import three
from simnl.results.plots.drawing import save
from simnl.results.plots.of_records import RECORD_KINDS


def runs(method: str, **means: float) -> list[dict]:
    return [r for name, mean in means.items() for r in three(mean, method=method, protocol=name.replace("_", "-"))]


def test_a_row_per_method_and_a_point_per_protocol(tmp_path):
    records = runs("SimNL", no_val=60.0, fewshot_val=61.0, oracle_test=63.0) + runs(
        "GDA", full_val=50.0, oracle_test=52.0
    )
    records += runs("APE", fewshot_val=55.0)  # no oracle: nothing to draw
    ((title, figure),) = RECORD_KINDS["audit"](records).items()
    assert title == "DTD, 16 shots, RN50, preset repaired"
    assert "mean of 3 seeds; lines: from an honest choice" in figure.get_suptitle()
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["SimNL", "GDA"]  # from below
    points = [
        (line.get_marker(), line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if len(line.get_xdata()) == 1
    ]
    assert sorted(x for _, x, y in points if y == 0) == pytest.approx([60, 61, 63])
    lines = {tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2}
    assert {tuple(round(x) for x in line) for line in lines} == {(61, 63), (50, 52)}
    assert save(figure, tmp_path / "audit.png").stat().st_size > 5000


def test_nothing_to_draw_is_told():
    with pytest.raises(ValueError, match=r"tools/audit\.py"):
        RECORD_KINDS["audit"](runs("SimNL", fewshot_val=60.0))
