"""Rows of docs/methods.md from docstrings: what is read, and what is refused."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import methods
import pytest

from simnl.runs import method_table
from simnl.runs.method_table import filled, parse_row, prompts_of, row_of, rows, sources

GOOD = """A method.

    Table row:
        prediction: f·t_c |x|,
            and more: of it
        learned: nothing

        parameters: C*D
        checked: formula

    More about it: indented no deeper than the section.
    """


BLANK = """before
<!-- begin methods: x -->
old
<!-- end methods -->
<!-- begin abilities -->
<!-- end abilities -->
"""


def test_a_row_is_read_and_lines_that_go_on_are_joined():
    assert parse_row("A", GOOD) == {
        "prediction": "f·t_c |x|, and more: of it", "learned": "nothing", "parameters": "C*D", "checked": "formula",
    }  # fmt: skip
    assert parse_row("A", "A method.") is None
    assert parse_row("A", None) is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("        learned: nothing\n", "", "lacks learned"),
        ("learned: nothing", "learned:", "lacks learned"),
        ("learned: nothing", "learns: nothing", r"can only have the fields prediction, .*: 'learns: nothing'"),
        ("learned: nothing", "nothing", "can only have the fields"),
        ("learned: nothing", "prediction: x", "has the field twice: 'prediction: x'"),
        ("        prediction", "    prediction", "lacks prediction, learned, parameters, checked"),
    ],
)
def test_a_broken_row_is_refused_with_the_class_and_the_field(old, new, message):
    with pytest.raises(ValueError, match=rf"docstring of trainers.a:A {message}.*CONTRIBUTING.md"):
        parse_row("trainers.a:A", GOOD.replace(old, new))


def test_sources_are_those_of_their_paragraph_alone():
    text = """A method; see arXiv:1111.11111.

    Source: One et al., arXiv:2103.00020 (arXiv:2111.03930), arXiv:2103.00020 and
    https://example.org/paper.pdf, too.
    Differences from arXiv:2222.22222: none.
    """
    assert [name for name, _ in sources(text)] == ["2103.00020", "2111.03930", "https://example.org/paper.pdf"]
    assert sources(text)[0][1] == "https://arxiv.org/abs/2103.00020"
    assert sources("No source.") == sources(None) == []


def test_prompts_are_those_that_a_method_declares():
    def declared(needed, optional=(), cached=True):
        return prompts_of(
            SimpleNamespace(prompt_sets=needed, optional_prompt_sets=optional, text_features_cached=cached)
        )

    assert declared(("template", "negative"), ("cupl",)) == "template, negative, CuPL (optional)"
    assert declared(()) == "none"
    assert declared((), cached=False) == "its own"


@pytest.fixture
def method(monkeypatch):
    """A method in a module of its own, with or without a script."""

    def make(docstring, source="Source: arXiv:2103.00020.", script="scripts/mine/main.sh"):
        module = ModuleType("mine")
        module.__doc__ = f"Mine.\n\n{source}"
        monkeypatch.setitem(sys.modules, "mine", module)
        declared = {"prompt_sets": ("template",), "optional_prompt_sets": (), "text_features_cached": True}
        kind = type("Mine", (), {"__module__": "mine", "__doc__": docstring, **declared})
        monkeypatch.setattr(method_table.TRAINER_REGISTRY, "get", lambda name: kind)
        monkeypatch.setattr(method_table, "script_of", lambda name: script)
        return row_of("Mine")

    return make


def test_a_row_is_needed_of_the_program_s_own_methods_alone(method):
    row = method(GOOD)
    assert row["method"] == "`Mine`"
    assert row["source"] == "[2103.00020](https://arxiv.org/abs/2103.00020)"
    with pytest.raises(ValueError, match=r"docstring of Mine \(mine\) has no section 'Table row'"):
        method("Mine.")
    with pytest.raises(ValueError, match="module mine names no source"):
        method(GOOD, source="")
    assert method("Mine.", source="", script="scripts/run.sh Mine") is None
    assert method(GOOD, source="", script="scripts/run.sh Mine")["source"] == ""
    with pytest.raises(ValueError, match="lacks learned"):  # what is there must be right
        method(GOOD.replace("learned: nothing", ""), script="scripts/run.sh Mine")


def test_rows_are_in_the_order_of_their_sources():
    names = list(rows())
    order = ["ZeroshotCLIP", "LinearProbe", "CoOp", "TipAdapter", "TipAdapterF", "SimNL"]
    assert [name for name in names if name in order] == order


def test_a_page_without_its_markers_is_told():
    with pytest.raises(ValueError, match="<!-- begin methods -->"):
        filled("# Methods")


def test_the_tool_writes_the_page_and_says_whether_it_is_up_to_date(tmp_path, monkeypatch, capsys):
    page = tmp_path / "methods.md"
    page.write_text(BLANK)
    monkeypatch.setattr(methods, "pages", lambda: {page: method_table.TABLES})
    monkeypatch.setattr(sys, "argv", ["methods.py", "--check"])
    assert methods.main() == 1
    assert "out of date" in capsys.readouterr().err
    assert "old" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["methods.py"])
    assert methods.main() == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- begin methods: x -->\n\n| method | prediction |")
    assert "CE + mean_c λ_c \\|w_c - b_c\\|²" in text  # a bar does not end a cell
    assert "| runs where there are test images only | ZeroshotCLIP, TDA |" in text
    assert "old" not in text
    monkeypatch.setattr(sys, "argv", ["methods.py", "--check"])
    assert methods.main() == 0
