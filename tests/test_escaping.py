"""Hostile names, made harmless in each format."""

from __future__ import annotations

import csv
import io
import logging

import pytest

from simnl import escaping
from simnl.errors import describe
from simnl.escaping import csv_field, figure_text, markdown, printable, shortened
from simnl.results.tables.model import Block, Cell, Table, text
from simnl.results.tables.render import render_tables

ESCAPES = ["\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\rb", "\x9b2J", "a\x08b", "a\x7f", "\u202egnp.exe",
           "\u2066a\u2069", "\ufeffa", "a\u200bb", "\u2028", "\x00", "\ud800"]  # fmt: skip
FORMULAS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    '=HYPERLINK("http://x")',
    "-cmd|' /C calc'!A0",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_is_left_that_a_terminal_obeys_or_nobody_sees(name):
    for shown in (printable(name), printable(name, lines=True), markdown(name), figure_text(name), shortened(name)):
        assert shown.isprintable()
        assert shown.encode()
    assert csv_field(name).isprintable()
    assert describe(ValueError(f"class {name}")).isprintable()


@pytest.mark.parametrize("name", ["café", "犬", "क्\u200dष", "👩\u200d🔬", "a b_c-d", "Ünïcode – ±"])
def test_names_of_all_scripts_stay(name):
    assert printable(name) == name
    assert csv_field(name) == name
    assert markdown(name) == name


def test_lines_stay_where_asked_for():
    assert printable("a\n\tb", lines=True) == "a\n\tb"
    assert printable("a\n\tb") == r"a\n\tb"


@pytest.mark.parametrize("name", FORMULAS)
def test_no_field_is_a_formula(name):
    field = csv_field(name)
    assert field.startswith("'") or printable(name) != name
    assert not field.lstrip().startswith(escaping.FORMULA)


def test_figures_stay_figures():
    assert [csv_field(value) for value in (-0.5, None, 3, "-0.5", "+1e-3", "–")] == [-0.5, "", 3, "-0.5", "+1e-3", "–"]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("[click](javascript:alert(1))", r"\[click\](javascript:alert(1))"),
        ("![x](http://x/y.png)", r"!\[x\](http://x/y.png)"),
        ("<img src=x onerror=y>", "&lt;img src=x onerror=y>"),
        ("a|b", r"a\|b"),
        ("`code`", r"\`code\`"),
        ("**bold** _it_ oxford_pets", r"\*\*bold\*\* \_it\_ oxford_pets"),
        ("&lt;b> &#106; A & B", "&amp;lt;b> &amp;#106; A & B"),
        ("a\nb", r"a\\nb"),
    ],
)
def test_markdown_sees_no_markup(name, wanted):
    assert markdown(name) == wanted


@pytest.mark.parametrize("name", [*ESCAPES, *FORMULAS, "[a](b)", "a\nb", "a|b", "$x$ \\input{/etc/passwd} %"])
def test_tables_in_every_format(name):
    table = Table(
        name, [name], [Block([name, "h"], [[text(name), Cell(1.0)]], name)], [{"dataset": name, "accuracy": -1.0}]
    )
    lines = {fmt: render_tables([table], fmt) for fmt in ("terminal", "markdown", "latex", "csv")}
    for fmt, shown in lines.items():
        assert shown.replace("\n", "").isprintable(), fmt
    (row,) = csv.DictReader(io.StringIO(lines["csv"]))
    assert row["accuracy"] == "-1.0"
    assert not row["dataset"].startswith(escaping.FORMULA)
    assert "[a](" not in lines["markdown"]
    assert r"\input" not in lines["latex"]


def test_log_lines_are_printable(caplog):
    factory = logging.getLogRecordFactory()
    try:
        escaping.keep_logs_printable()
        logging.getLogger("datasets").warning("class %s\nsecond line", "\x1b[2J")
    finally:
        logging.setLogRecordFactory(factory)
    assert caplog.messages == ["class \\x1b[2J\nsecond line"]


def test_long_values_are_cut():
    assert shortened("a" * 80) == "a" * 80
    assert shortened("-" * 5000) == "-" * 60 + "... (5,000 characters)"
    assert len(shortened("\x1b" * 70)) < 120
