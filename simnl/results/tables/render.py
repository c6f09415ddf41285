"""Tables as text: for a terminal, markdown, LaTeX (booktabs), csv."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence

from tabulate import tabulate

from simnl import escaping
from simnl.results.tables.model import BEST, MISSING, NOT_APPLICABLE, SECOND, Block, Cell, Table

FORMATS = ("terminal", "markdown", "latex", "csv")
NO_FIGURE = (MISSING, NOT_APPLICABLE, "")
WIDTH = 200  # columns of a terminal table; wider ones are split
PLUS_MINUS = {"terminal": "±", "markdown": "±", "latex": r"\pm"}
TERMINAL_MARKS = {BEST: "*", SECOND: "_", "": ""}  # before the number, so that columns stay aligned
MARKS = {
    "terminal": "*: best or tied with it; _: second",
    "markdown": "Bold: best or tied with it; underlined: second",
    "latex": "Bold: best or tied with it; underlined: second",
}
RULE = (
    " of the column. Two figures are tied unless they differ by more than the half width of each one's interval; with "
    "one seed there is no interval, and nothing is marked; nor is it where all are tied."
)
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$", "²": r"$^2$", "->": r"$\to$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "Δ": r"$\Delta$", "✓": r"$\checkmark$", "✗": r"$\times$",
}  # fmt: skip


def render_tables(tables: Sequence[Table], fmt: str, width: int = WIDTH) -> str:
    """Tables as text, one below the other; in csv, one tidy file with a row per figure in full precision.

    Args:
        tables: of one layout.
        fmt: terminal, markdown, latex or csv.
        width: of the terminal; wider tables continue below, with their first column repeated.

    Raises:
        ValueError: unknown format.
    """
    if fmt not in FORMATS:
        raise ValueError(f"Unknown format '{fmt}'. Choose one of {', '.join(FORMATS)}.")
    if fmt == "csv":
        return _csv([row for table in tables for row in table.tidy])
    if fmt == "latex":
        return "\n\n".join(["% Needs \\usepackage{amssymb,booktabs,graphicx}.", *map(_latex, tables)])
    return "\n\n\n".join(_plain(table, fmt, width) for table in tables)


def _caption(table: Table, fmt: str) -> list[str]:
    legend = [MARKS[fmt] + RULE] if table.marked else []
    return [*table.caption, *legend]


def _plain(table: Table, fmt: str, width: int) -> str:
    markdown = fmt == "markdown"
    heading = escape(table.title, fmt)
    parts = [f"## {heading}" if fmt == "markdown" else f"{heading}\n{'=' * min(len(heading), width)}"]
    for block in table.blocks:
        title = block.title and (f"**{escape(block.title, fmt)}**" if markdown else escape(block.title, fmt))
        for piece in [block] if markdown else _split(block, width):
            rows = [[cell_text(cell, fmt) for cell in row] for row in piece.rows]
            headers = [escape(header, fmt) for header in piece.headers]
            style = "github" if markdown else "simple"
            align = ["left"] + ["right" if numeric(piece, i) else "left" for i in range(1, len(headers))]
            body = tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True, colalign=align)
            parts.append(f"{title}\n\n{body}" if title and markdown else f"{title}\n{body}" if title else body)
    caption = [escape(sentence, fmt) for sentence in _caption(table, fmt)]
    if markdown:
        parts += ["\n".join(f"- {sentence}" for sentence in caption)]
    else:
        wrap = {"width": min(width, 120), "subsequent_indent": "  ", "break_on_hyphens": False}
        parts += ["\n".join(line for sentence in caption for line in textwrap.wrap(sentence, **wrap))]
    return "\n\n".join(part for part in parts if part)


def numeric(block: Block, column: int) -> bool:
    """True for a column of figures, some of which may be missing."""
    return all(row[column].value is not None or row[column].text in NO_FIGURE for row in block.rows)


def _split(block: Block, width: int) -> list[Block]:
    """The block's columns in as few pieces as fit, the first column in each."""
    gap, padding = 2, 2  # tabulate: between columns; beside a header
    widths = [
        max(len(header) + padding, *(len(cell_text(row[i], "terminal")) for row in block.rows), 0)
        for i, header in enumerate(block.headers)
    ]
    pieces: list[list[int]] = [[0]]
    used = widths[0]
    for column in range(1, len(widths)):
        if used + gap + widths[column] > width and len(pieces[-1]) > 1:
            pieces.append([0])
            used = widths[0]
        pieces[-1].append(column)
        used += gap + widths[column]
    return [Block([block.headers[i] for i in p], [[row[i] for i in p] for row in block.rows]) for p in pieces]


def cell_text(cell: Cell, fmt: str) -> str:
    """A cell as text in a format. The mark is on the mean alone, never on its interval."""
    if cell.value is None:
        return escape(cell.text, fmt)
    number = f"{cell.value:{'+' if cell.signed else ''}{',' if cell.grouped else ''}.{cell.decimals}f}"
    half = "" if cell.half is None else f" {PLUS_MINUS[fmt]} {cell.half:.{cell.decimals}f}"
    note = f" {cell.note}" if cell.note else ""
    if fmt == "latex":
        command = {BEST: r"\mathbf", SECOND: r"\underline"}.get(cell.mark)
        number = f"{command}{{{number}}}" if command else number
        return f"${number.replace(',', '{,}')}{half}$" + escape(note, fmt)
    if fmt == "markdown":
        number = {BEST: f"**{number}**", SECOND: f"<u>{number}</u>"}.get(cell.mark, number)
        return number + half + note
    return TERMINAL_MARKS[cell.mark] + number + half + note


def escape(content: str, fmt: str) -> str:
    """Text in which nothing is read as markup, as a formula or by a terminal."""
    if fmt == "markdown":
        return escaping.markdown(content)
    content = escaping.printable(content)
    if fmt == "latex":
        content = content.replace("->", "\x00")
        escaped = "".join(LATEX_ESCAPES.get(character, character) for character in content)
        return escaped.replace("\x00", LATEX_ESCAPES["->"])
    return content


def _latex(table: Table) -> str:
    """A floating table; blocks with the same header share a tabular."""
    groups: list[list[Block]] = []
    for block in table.blocks:
        if groups and groups[-1][0].headers == block.headers:
            groups[-1].append(block)
        else:
            groups.append([block])
    tabulars = [_latex_group(group) for group in groups]
    caption = " ".join(escape(sentence, "latex") for sentence in _caption(table, "latex"))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{\textbf{{{escape(table.title, 'latex')}.}} {caption}}}",
            "\n\\medskip\n\n".join(tabulars),
            r"\end{table}",
        ]
    )


def _latex_group(blocks: Sequence[Block]) -> str:
    headers = [escape(header, "latex") for header in blocks[0].headers]
    body = [(escape(b.title, "latex"), [[cell_text(cell, "latex") for cell in row] for row in b.rows]) for b in blocks]
    align = "l" + "".join("r" if any(numeric(b, i) for b in blocks) else "l" for i in range(1, len(headers)))
    tabular = latex_tabular(headers, body, align)
    return tabular if len(headers) < 8 else f"\\resizebox{{\\textwidth}}{{!}}{{%\n{tabular}%\n}}"


def latex_tabular(headers: Sequence[str], blocks: Sequence[tuple[str, Sequence[Sequence[str]]]], align: str) -> str:
    """A booktabs tabular of escaped text: blocks of (title, rows) between rules."""
    lines = [rf"\begin{{tabular}}{{{align}}}", r"\toprule", " & ".join(headers) + r" \\"]
    for title, rows in blocks:
        lines.append(r"\midrule")
        if title:
            lines.append(rf"\multicolumn{{{len(headers)}}}{{l}}{{\emph{{{title}}}}} \\")
        lines += [("{}" if row[0][:1] in ("[", "*") else "") + " & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _csv(rows: Sequence[dict]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: escaping.csv_field(value) for key, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")
