"""Which figures of a column are marked: what a paired test over shared draws does not tell from the best."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from simnl.results.stats import paired_difference
from simnl.results.tables.model import Cell, Stat, figure, mark_columns, text


def marks(*figures: Stat | None) -> list[str]:
    """Marks of one column; None: a missing figure."""
    return [row[1].mark for row in mark_columns([[text("m"), figure(stat)] for stat in figures])]


def seeds(*accuracies: float, **more) -> Stat:
    return Stat(dict(enumerate(accuracies, 1)), **more)


WIDE = (50.0, 60.0, 70.0)  # seeds that differ far more than methods do


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        # a small but steady win over shared draws, within both intervals: the paired test sees it
        ([seeds(*WIDE), seeds(49.0, 59.1, 69.0)], ["best", "second"]),
        ([seeds(*WIDE), seeds(49.0, 61.0, 69.5)], ["best", "best"]),  # now better, now worse: no test tells them apart
        ([seeds(*WIDE), seeds(49.0, 59.1, 69.0), seeds(49.1, 58.9, 68.9)], ["best", "second", "second"]),
        ([seeds(*WIDE), seeds(*WIDE), seeds(49.0, 59.1, 69.0)], ["best", "best", ""]),  # equal figures
        ([seeds(*WIDE), seeds(*WIDE)], ["best", "best"]),
        ([seeds(*WIDE)], [""]),  # alone
        ([seeds(*WIDE), None, seeds(49.0, 59.1, 69.0)], ["best", "", "second"]),
        # nothing to test: one seed, or draws that are not shared
        ([seeds(70.0), seeds(69.9), seeds(60.0)], ["best", "second", ""]),
        ([seeds(*WIDE), seeds(49.0, 61.0, 69.5, split="other")], ["best", "second"]),
        ([seeds(*WIDE), Stat({4: 49.0, 5: 61.0, 6: 69.5})], ["best", "second"]),
        ([seeds(*WIDE), Stat({3: 69.0, 4: 50.0})], ["best", "second"]),
        # over the seeds that both have, the lower mean is the better one
        ([seeds(60.0, 61.0, 90.0), Stat({1: 62.0, 2: 62.5})], ["best", "best"]),
        # errors, of which the lowest is the best
        ([seeds(*WIDE, sign=-1), seeds(49.0, 59.1, 69.0, sign=-1)], ["second", "best"]),
        (
            [seeds(*WIDE, sign=-1), seeds(49.0, 61.0, 69.5, sign=-1), seeds(80.0, 90.0, 99.0, sign=-1)],
            ["best", "best", ""],
        ),
    ],
)
def test_marks(figures, expected):
    assert marks(*figures) == expected


def test_a_paired_difference_is_the_paired_t_test_of_the_textbook():
    ours, theirs = {1: 60.0, 2: 61.5, 3: 64.0, 5: 1.0}, {1: 59.0, 2: 61.0, 3: 61.0, 4: 99.0}
    mean, half = paired_difference(ours, theirs)
    pairs = [(ours[seed], theirs[seed]) for seed in (1, 2, 3)]
    known = scipy_stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert (mean - half, mean + half) == (pytest.approx(known.low), pytest.approx(known.high))
    mean, half = paired_difference(ours, theirs, "normal")
    assert half == pytest.approx(1.96 * statistics.pstdev([1.0, 0.5, 3.0]) / 3**0.5)
    assert paired_difference(ours, {1: 59.0}) is None
    assert paired_difference({}, theirs) is None


@settings(deadline=None)  # on a machine that is busy, too
@given(st.lists(st.tuples(*[st.integers(0, 200)] * 3), min_size=2, max_size=7, unique_by=sum))
def test_marks_by_a_plain_reading_of_the_rule(columns):
    """Best: the highest mean, and each with p >= 5 % in a paired t-test against it."""
    figures = [[value / 2 for value in column] for column in columns]
    top = max(figures, key=sum)

    def is_best(figure):
        differences = [a - b for a, b in zip(top, figure, strict=True)]
        spread = statistics.stdev(differences)
        if spread == 0:
            return figure is top
        return statistics.fmean(differences) / (spread / 3**0.5) <= scipy_stats.t.ppf(0.975, 2) + 1e-9

    result = marks(*(seeds(*figure) for figure in figures))
    assert [mark == "best" for mark in result] == [is_best(figure) for figure in figures]
    assert ("second" in result) == (result.count("best") == 1)
    assert marks(*(seeds(*figure) for figure in reversed(figures))) == result[::-1]


def test_columns_are_judged_one_by_one_and_the_rest_is_untouched():
    a, b = seeds(70.0, 71.0, 72.0), seeds(60.0, 61.1, 62.0)
    rows = [[text("a"), figure(a), figure(b), Cell(99.0)], [text("b"), figure(b), figure(a, 2), Cell(98.0)]]
    marked = mark_columns(rows)
    assert [[cell.mark for cell in row[1:]] for row in marked] == [["best", "second", ""], ["second", "best", ""]]
    assert marked[1][2].note == "(n=3)"
    assert rows[0][1].mark == ""
