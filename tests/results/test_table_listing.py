"""A `Listing` makes tables from its declaration: groups, lines, rows by block, marks, csv, and its error."""

from __future__ import annotations

import pytest

from simnl.results.tables import Request, render_tables
from simnl.results.tables.listing import Line, Listing, figure_of, number, own_columns, words
from simnl.results.tables.model import BEST, Stat, figure
from simnl.results.tables.records import split_by

RECORDS = [{"method": m, "dataset": d, "images": n} for m, d, n in [("a", "x", 1200), ("b", "x", ""), ("c", "y", 7)]]


def listing(**changes) -> Listing:
    declared = {
        "groups": lambda records, request: split_by(records, lambda r: r["dataset"]),
        "lines": lambda group, request: [{**r, "label": r["method"].upper(), "share": 0.5} for r in group],
        "columns": lambda group, lines: {
            "method": words("label"), "images": number("images"), "share": figure_of("share", 100)
        },
        "title": lambda group: f"Images of {group[0]['dataset']}",
        "setting": lambda group: {},
        "caption": lambda group, lines, request: [f"{len(lines)} lines."],
    }  # fmt: skip
    return Listing(**{**declared, **changes})


def test_a_table_per_group_and_a_row_per_line():
    first, second = listing().tables(RECORDS, Request())
    assert (first.title, first.caption, second.title) == ("Images of x", ["2 lines."], "Images of y")
    assert [[cell.value for cell in row] for row in first.blocks[0].rows] == [[None, 1200, 50.0], [None, None, 50.0]]
    assert [row[0].text for row in first.blocks[0].rows] == ["A", "B"]
    lines = render_tables([first, second], "csv").splitlines()
    assert lines == ["method,dataset,images,share", "a,x,1200,0.5", "b,x,,0.5", "c,y,7,0.5"]


def test_csv_has_the_lines_without_a_row_too():
    only_b = listing(shown=lambda line: line["method"] == "b").tables(RECORDS, Request())
    assert [len(table.blocks[0].rows) for table in only_b] == [1, 0]  # of no row, the headers are left
    assert [len(table.tidy) for table in only_b] == [2, 1]


def test_lines_that_know_their_cells_stand_in_blocks_and_are_marked():
    figures = {("one", "a"): 3.0, ("one", "b"): 2.0, ("two", "c"): 1.0}
    made = listing(
        groups=lambda records, request: [records],
        lines=lambda group, request: [
            Line(name, {"accuracy in %": figure(Stat({1: value}))}, [{"row": name}], block)
            for (block, name), value in figures.items()
        ],
        columns=own_columns,
        marked=True,
    )
    (table,) = made.tables(RECORDS, Request())
    assert [(block.title, len(block.rows)) for block in table.blocks] == [("one", 2), ("two", 1)]
    assert table.blocks[0].headers == ["method", "accuracy in %"]
    assert [row[1].mark == BEST for block in table.blocks for row in block.rows] == [True, False, False]
    assert table.tidy == [{"row": "a"}, {"row": "b"}, {"row": "c"}]


def test_nothing_to_show_is_an_error_where_the_declaration_says_so():
    with pytest.raises(ValueError, match="No runs of the kind"):
        listing(groups=lambda records, request: [], missing="No runs of the kind.").tables(RECORDS, Request())
