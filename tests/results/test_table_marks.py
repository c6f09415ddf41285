"""Marks: on the figures that a paired test over shared draws does not tell from the best, and behind the names of
methods that look at the test images, which are never ranked with the others."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from helpers.table_records import csv_rows, three
from simnl.results.tables import paired_tables, render_tables, runs_table, summarise
from simnl.results.tables.common import Request
from simnl.results.tables.layouts import build
from simnl.results.tables.model import Cell, Stat, figure, mark_columns, text
from simnl.results.tables.records import SIGHT


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
    found = Stat(ours).minus(Stat(theirs))
    mean, half = found.mean, found.half
    pairs = [(ours[seed], theirs[seed]) for seed in (1, 2, 3)]
    known = scipy_stats.ttest_rel(*zip(*pairs, strict=True)).confidence_interval(0.95)
    assert (mean - half, mean + half) == (pytest.approx(known.low), pytest.approx(known.high))
    normal = Stat(ours, "normal").minus(Stat(theirs)).half
    assert normal == pytest.approx(1.96 * statistics.pstdev([1.0, 0.5, 3.0]) / 3**0.5)
    assert Stat(ours).minus(Stat({1: 59.0})).half is None
    assert Stat(ours).minus(Stat({4: 59.0})) is None
    assert Stat(ours).minus(Stat(theirs, split="another")) is None


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


RECORDS = [
    *three(70.0, method="TransCLIP", inference="transductive"),
    *three(66.0, method="TDA", inference="online"),
    *three(60.0, method="SimNL", inference="inductive"),
    *three(50.0, method="TipAdapter"),  # a record of before there was the key
]
NOTES = {
    "†": "(transductive): sees all test images at once, without their labels, before it predicts",
    "‡": "(online): sees the test images one after the other, without their labels, and remembers those before",
}


def lines(text: str, name: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip("| ").startswith(name)]


@pytest.mark.parametrize("layout", ["fewshot", "cost"])
def test_every_layout_marks_them_and_says_what_the_mark_means(layout):
    text = render_tables(build(layout, RECORDS, Request()), "markdown")
    for name, mark in (("TransCLIP", "†"), ("TDA", "‡")):
        assert all(f"{name}{mark}" in line for line in lines(text, name))
        assert lines(text, name)
        assert f"{mark} {NOTES[mark]}" in text
    assert not any(
        mark in line for name in ("SimNL", "Tip-Adapter") for line in lines(text, name) for mark in SIGHT.values()
    )


def test_the_best_figure_is_that_of_the_best_method_that_sees_one_image():
    text = render_tables(build("fewshot", RECORDS, Request()), "markdown")
    assert "**60.00**" in lines(text, "SimNL")[0]
    assert not any("**" in line or "<u>" in line for name in ("TransCLIP", "TDA") for line in lines(text, name))
    alone = render_tables(build("fewshot", RECORDS[6:], Request()), "markdown")
    assert "†" not in alone
    assert "‡" not in alone


def test_nor_is_an_average_over_data_sets_ranked():
    both = [
        {**one, "dataset": name, "config_hash": f"{one['method']}{name}"[:8]}
        for name in ("dtd", "eurosat")
        for one in RECORDS
    ]
    text = render_tables(build("fewshot", both, Request()), "markdown")
    assert not any("**" in line or "<u>" in line for name in ("TransCLIP", "TDA") for line in lines(text, name))
    assert any("**60.00**" in line for line in lines(text, "SimNL"))


def test_the_list_of_runs_and_differences_to_a_method():
    listed = render_tables([runs_table(summarise(RECORDS))], "markdown")
    paired = render_tables(paired_tables(RECORDS, "SimNL", Request()), "markdown")
    for table in (listed, paired):
        for name, mark in (("TransCLIP", "†"), ("TDA", "‡")):
            assert f"{name}{mark}" in table
            assert f"{mark} {NOTES[mark]}" in table
    rows = csv_rows(render_tables([runs_table(summarise(RECORDS))], "csv"))
    assert {row["method"]: row["inference"] for row in rows} == {
        "TransCLIP": "transductive", "TDA": "online", "SimNL": "inductive", "TipAdapter": "",
    }  # fmt: skip


def test_marks_in_latex_are_commands():
    text = render_tables(build("fewshot", RECORDS, Request()), "latex")
    assert r"TransCLIP\dag{}" in text
    assert r"TDA\ddag{}" in text
