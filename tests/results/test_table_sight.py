"""Methods that look at the test images are marked in every table, and never ranked with the others."""

from __future__ import annotations

import pytest

from helpers.table_records import csv_rows, three
from simnl.results.tables import paired_tables, render_tables, runs_table, summarise
from simnl.results.tables.common import Request
from simnl.results.tables.layouts import build
from simnl.results.tables.sight import MARKS

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
        mark in line for name in ("SimNL", "Tip-Adapter") for line in lines(text, name) for mark in MARKS.values()
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
    for text in (listed, paired):
        for name, mark in (("TransCLIP", "†"), ("TDA", "‡")):
            assert f"{name}{mark}" in text
            assert f"{mark} {NOTES[mark]}" in text
    rows = csv_rows(render_tables([runs_table(summarise(RECORDS))], "csv"))
    assert {row["method"]: row["inference"] for row in rows} == {
        "TransCLIP": "transductive", "TDA": "online", "SimNL": "inductive", "TipAdapter": "",
    }  # fmt: skip


def test_marks_in_latex_are_commands():
    text = render_tables(build("fewshot", RECORDS, Request()), "latex")
    assert r"TransCLIP\dag{}" in text
    assert r"TDA\ddag{}" in text
