"""Tables as text: markdown, terminal, LaTeX, csv."""

from __future__ import annotations

import re

import pytest

from helpers.table_records import HALF, csv_rows, three, write
from simnl.results.tables import (
    DEFAULT_LAYOUT,
    FORMATS,
    LAYOUTS,
    Request,
    build,
    find_records,
    render_tables,
    runs_table,
    summarise,
)
from simnl.results.tables.common import ELEVEN
from simnl.results.tables.model import Block, Cell, Table, escape, text


def table(rows: list[list[Cell]], headers: list[str] | None = None, marked: bool = True) -> Table:
    width = len(rows[0])
    return Table("A title", ["Caption."], [Block(headers or ["h"] * width, rows, "16 shots")], [{"a": 1}], marked)


def latex_problems(source: str) -> list[str]:
    """What would not compile or print as meant: unescaped characters, open braces, environments, uneven rows."""
    problems, stack, depth, columns = [], [], 0, 0
    source = re.sub(r"(?<!\\)%.*", "", source)  # comments
    for name, which in re.findall(r"\\(begin|end)\{(\w+\*?)\}", source):
        if name == "begin":
            stack.append(which)
        elif not stack or stack.pop() != which:
            problems.append(f"\\end{{{which}}} without its begin")
    problems += [f"{which} is not closed" for which in stack]
    for character in re.sub(r"\\[{}\\]", "", source):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth < 0:
            problems.append("a brace closes nothing")
            break
    if depth > 0:
        problems.append("a brace is not closed")
    if len(re.findall(r"(?<!\\)\$", source)) % 2:
        problems.append("an odd number of $")
    outside_math = re.sub(r"(?<!\\)\$[^$]*\$", "", source)
    problems += [f"bare {c}" for c in "_^#" if re.search(rf"(?<!\\)\{c}", outside_math)]
    problems += [f"not in LaTeX's own letters: {c}" for c in set(source) if ord(c) > 127]
    for line in source.splitlines():
        if line.startswith(r"\begin{tabular}"):
            align = re.sub(r">\{.*?\}p\{[\d.]+pt\}", "p", line)
            columns = len(re.search(r"\{([lrcp]+)\}$", align)[1])
        elif line.endswith(r"\\"):
            span = re.search(r"\\multicolumn\{(\d+)\}", line)
            cells = int(span[1]) if span else len(re.findall(r"(?<!\\)&", line)) + 1
            problems += [f"{cells} cells of {columns}: {line}"] if cells != columns else []
    return problems


def test_the_latex_parser_of_this_test_finds_faults():
    assert latex_problems("\\begin{tabular}{lr}\na_b & 1 \\\\\n\\end{tabular}")
    assert latex_problems("\\begin{tabular}{lr}\na & 1 & 2 \\\\\n\\end{tabular}")
    assert latex_problems("\\begin{table}{")
    assert latex_problems("50 € & $x \\\\")
    assert not latex_problems("\\begin{tabular}{lr}\na\\_b & $1$ \\\\\n\\end{tabular}")


@pytest.fixture
def records(tmp_path):
    everything = [r for name in ELEVEN for m in ("SimNL", "APE") for r in three(70.0, dataset=name, method=m)]
    shifted = {"imagenet_a": 30.0, "imagenet_r": 60.0}
    everything += three(60.0, dataset="imagenet", method="TaskRes", backbone="ViT-B-32", targets=shifted)
    everything += three(50.0, label_noise=0.3)
    for value in (1.0, 2.0):
        options = {"TRAINER.SIMNL.ALPHA": value, "SEARCH.ENABLED": False, "DATASET.FOLDER": "a_b & 50% #1 {x}^~\\"}
        everything += three(66.0, dataset="imagenet", options=options)
    everything += three(80.0, subsample_classes="base", targets={"new": 60.0})
    everything += three(64.0, dataset="dtd", protocol="oracle-test")
    everything += three(67.0, dataset="imagenet", method="CoOp", targets={"cross:dtd": 41.0, "cross:eurosat": 45.0})
    everything += three(69.0, dataset="dtd", options={"TRAINER.SIMNL.ADAPTERS": ["positive-text"]})
    return find_records([write(tmp_path, everything)])


# Those of logits and of detection need files beside the records (test_metrics.py, tests/e2e/test_ood.py).
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("metrics", "ood", "tradeoff")])
def test_every_layout_in_every_format(records, layout):
    tables = build(layout, records, Request())
    latex = render_tables(tables, "latex")
    assert not latex_problems(latex)
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption"):
        assert command in latex
    for width in (20, 40, 80, 120, 200):
        assert max(map(len, render_tables(tables, "terminal", width).splitlines())) <= width
    rows = [line for line in render_tables(tables, "markdown").splitlines() if line.startswith("|")]
    assert len(rows) >= 3
    assert csv_rows(render_tables(tables, "csv"))[0].get("layout", DEFAULT_LAYOUT) == layout
    with pytest.raises(ValueError, match="markdown"):
        render_tables(tables, "html")


def test_the_plain_list_in_latex(records):
    latex = render_tables([runs_table(summarise(records))], "latex")
    assert "OxfordPets" in latex
    own = runs_table(summarise([{**records[0], "dataset": "imagefolder-a_b"}]))
    assert r"imagefolder-a\_b" in render_tables([own], "latex")
    assert not latex_problems(latex)


def test_marks_are_on_the_mean_alone():
    one = table([[text("a"), Cell(70.0, 1.0, mark="best")], [text("b"), Cell(60.0, 2.0, mark="second", note="(n=2)")]])
    latex = render_tables([one], "latex")
    assert r"$\mathbf{70.00}\,{\scriptstyle\pm1.00}$" in latex
    assert r"$\underline{60.00}\,{\scriptstyle\pm2.00}$ (n=2)" in latex
    markdown = render_tables([one], "markdown")
    assert "**70.00** ± 1.00" in markdown
    assert "<u>60.00</u> ± 2.00 (n=2)" in markdown
    terminal = render_tables([one], "terminal")
    assert " *70.00 ± 1.00" in terminal
    assert "_60.00 ± 2.00 (n=2)" in terminal
    for text_of_format in (latex, markdown, terminal):
        assert (
            "paired difference to it, over the seeds that both have, has a 95 % interval that contains 0"
            in " ".join(text_of_format.replace(r"\%", "%").split())
        )


def test_hostile_text_stays_text():
    evil = r"50% & a_b #1 {x} ^~\ <b> | *x* – ±"
    one = table([[text(evil), Cell(1.0)], [text("[x]"), Cell(2.0)]], [evil, "h"])
    assert not latex_problems(render_tables([one], "latex"))
    assert "{}[x] &" in render_tables([one], "latex")  # after \\, a bracket would be an argument
    row = next(line for line in render_tables([one], "markdown").splitlines() if r"\|" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 3
    assert "&lt;b>" in row
    assert escape("a -> b", "latex") == r"a $\to$ b"


def test_wide_terminal_tables_continue_below_with_their_first_column():
    wide = table([[text("method name"), *[Cell(50.0, 1.0)] * 20]], ["method", *(f"data set {i}" for i in range(20))])
    lines = render_tables([wide], "terminal", width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert sum(line.startswith("method name") for line in lines) > 3
    assert sum(line.count("50.00 ± 1.00") for line in lines) == 20


def test_columns_of_a_terminal_table_are_aligned():
    one = table([[text("a"), Cell(70.0, 1.0, mark="best")], [text("b"), Cell(60.0, 2.0)], [text("c"), Cell()]])
    rows = [line for line in render_tables([one], "terminal").splitlines() if line[:2] in ("a ", "b ", "c ")]
    assert len({len(line) for line in rows}) == 1


def test_csv_has_full_precision(tmp_path):
    records = find_records([write(tmp_path, three(100 / 3))])
    row = next(r for r in csv_rows(render_tables(build("fewshot", records, Request()), "csv")) if r["accuracy"])
    assert float(row["accuracy"]) == pytest.approx(100 / 3, abs=1e-12)
    assert float(row["ci95"]) == pytest.approx(HALF, abs=1e-8)


def test_formats_are_the_four():
    assert FORMATS == ("terminal", "markdown", "latex", "csv")
