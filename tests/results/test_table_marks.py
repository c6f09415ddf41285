"""Which figures of a column are marked: a difference within an interval is no win."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnl.results.tables.model import Cell, mark_columns, text


def marks(*figures: tuple[float, float | None] | None) -> list[str]:
    """Marks of one column of (mean, half width); None: a missing figure."""
    rows = [[text("m"), Cell(*figure) if figure else Cell()] for figure in figures]
    return [row[1].mark for row in mark_columns(rows)]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([(70, 1), (60, 1), (50, 1)], ["best", "second", ""]),
        ([(70, 1), (69.5, 1), (50, 1)], ["best", "best", ""]),  # tied best: there is no second
        ([(70, 0.1), (69.5, 1), (50, 1)], ["best", "best", ""]),  # within the other's interval
        ([(70, 1), (60, 1), (59.5, 1), (50, 1)], ["best", "second", "second", ""]),
        ([(70, 1), (69, 1), (50, 1)], ["best", "best", ""]),  # just at the end of the interval
        ([(70, 5), (69, 5), (68, 5)], ["", "", ""]),  # all tied: nothing stands apart
        ([(70, 1)], [""]),
        ([(70, 1), None, (60, 1)], ["best", "", "second"]),
        ([(70, None), (60, 1)], ["", ""]),  # one seed: no interval
        ([(70, 0), (60, 0), (50, 0)], ["best", "second", ""]),
        ([(53, 0), (53, 2), (51.5, 0.1)], ["", "", ""]),  # of equal figures the wider interval decides
        ([(53, 2), (53, 0), (51.5, 0.1)], ["", "", ""]),
    ],
)
def test_marks(figures, expected):
    assert marks(*figures) == expected


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 20)), min_size=2, max_size=8))
def test_marks_by_a_plain_reading_of_the_rule(figures):
    result = marks(*figures)
    top, half = max(figures)  # of equal means the one with the wider interval
    tied = [top - mean <= max(half, h) for mean, h in figures]
    if all(tied):
        assert set(result) == {""}
        return
    assert [mark == "best" for mark in result] == tied
    assert ("second" in result) == (sum(tied) == 1)
    assert marks(*reversed(figures)) == result[::-1]


def test_columns_are_judged_one_by_one_and_the_rest_is_untouched():
    rows = [[text("a"), Cell(70, 1), Cell(10, 1)], [text("b"), Cell(60, 1), Cell(20, 1, note="(n=2)")]]
    marked = mark_columns(rows)
    assert [[cell.mark for cell in row[1:]] for row in marked] == [["best", "second"], ["second", "best"]]
    assert marked[1][2].note == "(n=2)"
    assert rows[0][1].mark == ""
