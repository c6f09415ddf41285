"""Tables as text: for a terminal, markdown, LaTeX (booktabs), csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Any

from simnl import escaping
from simnl.results.tables.latex import RAISED, latex_text
from simnl.results.tables.model import BEST, SECOND, Cell, Table
from simnl.results.tables.terminal import FULL, NARROWEST, block_text, grid_text, wrapped

FORMATS = ("terminal", "markdown", "latex", "csv")
TERMINAL_MARKS = {BEST: "*", SECOND: "_", "": ""}  # they stand before the number, so that columns stay aligned
ABOVE = str.maketrans("tsavculdon", RAISED)  # letters of the audit, above the line
MARKS = {"terminal": "*: best; _: second", "markdown": "Bold: best; underlined: second"}
MARKS["latex"] = MARKS["markdown"]
RULE = (
    " of a column. Best are the highest mean, and every other whose paired difference to it, over the seeds that both "
    "have, has a 95 % interval that contains 0; second, where the best stands alone, is the next by the same rule. Two "
    "figures with fewer than two seeds in common on the same split are not tested: the higher mean is the better."
)
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "±": r"$\pm$", "²": r"$^2$", "->": r"$\to$",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", "Δ": r"$\Delta$", "✓": r"$\checkmark$", "✗": r"$\times$",
    "†": r"\dag{}", "‡": r"\ddag{}",
}  # fmt: skip


def render_tables(tables: Sequence[Table], fmt: str, width: int = FULL) -> str:
    """Tables as text, one below the other; in csv, one tidy file with a row per figure in full precision.

    Args:
        tables: the tables of one layout.
        fmt: terminal, markdown, latex or csv.
        width: the width of the terminal.

    Raises:
        ValueError: unknown format.
    """
    if fmt not in FORMATS:
        raise ValueError(f"Unknown format '{fmt}'. Choose one of {', '.join(FORMATS)}.")
    if fmt == "csv":
        return _csv([row for table in tables for row in table.tidy])
    if fmt == "latex":
        return latex_text(tables, shown_in(fmt), shown_in("terminal"), MARKS[fmt] + RULE)
    return "\n\n\n".join(_plain(table, fmt, max(width, NARROWEST)) for table in tables)


def shown_in(fmt: str) -> Callable[[Any], str]:
    """What turns a cell, or text, into a format."""
    return lambda content: cell_text(content, fmt) if isinstance(content, Cell) else escape(content, fmt)


def _plain(table: Table, fmt: str, width: int) -> str:
    markdown, show = fmt == "markdown", shown_in(fmt)
    caption = [show(sentence) for sentence in [*table.caption, *([MARKS[fmt] + RULE] if table.marked else [])]]
    if markdown:
        title = f"## {show(table.title)}" if table.title else ""
        blocks = [
            "\n\n".join(filter(None, [f"**{show(b.title)}**" if b.title else "", grid_text(b, "github", show)]))
            for b in table.blocks
        ]
        notes = "\n".join(f"- {sentence}" for sentence in caption)
    else:
        lines = wrapped(show(table.title), width, "")
        title = "\n".join([*lines, "=" * max(map(len, lines))]) if lines else ""
        blocks = [block_text(block, width, show) for block in table.blocks]
        notes = "\n".join(line for sentence in caption for line in wrapped(sentence, width))
    return "\n\n".join(filter(None, [title, *blocks, notes]))


def cell_text(cell: Cell, fmt: str) -> str:
    """A cell as text in a format. The mark is on the mean alone, never on its interval."""
    if cell.value is None:
        return escape(cell.text, fmt)
    number = f"{cell.value:{'+' if cell.signed else ''}{',' if cell.grouped else ''}.{cell.decimals}f}"
    half = "" if cell.half is None else f" ± {cell.half:.{cell.decimals}f}"
    note = f" {cell.note}" if cell.note else ""
    letters = ",".join(cell.audit)
    if fmt == "latex":
        command = {BEST: r"\mathbf", SECOND: r"\underline"}.get(cell.mark)
        number = f"{command}{{{number}}}" if command else number
        half = half and f"\\,{{\\scriptstyle\\pm{half[3:]}}}"
        raised = f"^{{\\mathrm{{{cell.audit}}}}}" if letters else ""
        return f"${number.replace(',', '{,}')}{half}{raised}$" + escape(note, fmt)
    if fmt == "markdown":
        number = {BEST: f"**{number}**", SECOND: f"<u>{number}</u>"}.get(cell.mark, number)
        return number + half + (f"<sup>{letters}</sup>" if letters else "") + note
    return TERMINAL_MARKS[cell.mark] + number + half + cell.audit.translate(ABOVE) + note


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


def _csv(rows: Sequence[dict]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: escaping.csv_field(value) for key, value in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")
