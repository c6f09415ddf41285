"""Tables as text: for a terminal, never wider than it is; in markdown, LaTeX (booktabs), csv."""

from __future__ import annotations

import csv
import io
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial

from tabulate import tabulate

from simnl import escaping
from simnl.results.tables.fit import fit, folded, naming, numeric
from simnl.results.tables.latex import latex_text
from simnl.results.tables.model import Block, Table, shown

FULL = 10**6  # columns of what is no terminal
NARROWEST = 20
KEEP = "\u00a0"  # a blank at which no line breaks
CAPTION = 120  # columns of running text
GAP, PADDING = 2, 2  # tabulate: between columns; beside a header
FORMATS = ("terminal", "markdown", "latex", "csv")
MARKS = {"terminal": "*: best; _: second", "markdown": "Bold: best; underlined: second"}
MARKS["latex"] = MARKS["markdown"]
RULE = (
    " of a column. Best are the highest mean, and every other whose paired difference to it, over the seeds that both "
    "have, has a 95 % interval that contains 0; second, where the best stands alone, is the next by the same rule. Two "
    "figures with fewer than two seeds in common on the same split are not tested: the higher mean is the better."
)


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
        rows = [row for table in tables for row in table.tidy]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: escaping.csv_field(value) for key, value in row.items()} for row in rows)
        return out.getvalue().rstrip("\n")
    if fmt == "latex":
        return latex_text(tables, MARKS[fmt] + RULE)
    return "\n\n\n".join(_plain(table, fmt, max(width, NARROWEST)) for table in tables)


def _plain(table: Table, fmt: str, width: int) -> str:
    markdown, show = fmt == "markdown", partial(shown, fmt=fmt)
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


# ---------------------------------------------------------------------- for a terminal


def terminal_width() -> int:
    """Columns of the terminal; of a pipe or a file what COLUMNS says, else no limit."""
    columns = os.environ.get("COLUMNS", "")
    given = columns.isdecimal() and int(columns) > 0
    return max(shutil.get_terminal_size().columns, NARROWEST) if given or sys.stdout.isatty() else FULL


def wrapped(sentence: str, width: int, indent: str = "  ") -> list[str]:
    """Running text as lines."""
    return textwrap.wrap(sentence, min(width, CAPTION), subsequent_indent=indent, break_on_hyphens=False)


def block_text(block: Block, width: int, show: Callable[[object], str]) -> str:
    """A block in at most `width` columns: whole, or with fewer columns, or in pieces, or each row as a list.

    Args:
        block: rows and columns.
        width: the width of the terminal, from NARROWEST.
        show: a header or a cell as text.
    """

    def widths(part: Block) -> list[int]:
        cells = zip(part.headers, *([show(cell) for cell in row] for row in part.rows), strict=True)
        return [max(len(header) + PADDING, *map(len, texts), 0) + GAP for header, *texts in cells]

    pieces = fit(block, widths, width + GAP)
    as_grid = all(sum(widths(piece)) <= width + GAP for piece in pieces)
    if len(pieces) > 1 and not (as_grid and _are_readable(pieces, folded(block), widths, width)):
        pieces, as_grid = [folded(block)], False
    titles = [wrapped(show(piece.title), width) for piece in pieces]
    titles[0] += wrapped(show(pieces[0].shared), width)
    bodies = [grid_text(piece, "simple", show) if as_grid else _as_lists(piece, width, show) for piece in pieces]
    return "\n\n".join("\n".join([*title, body]) for title, body in zip(titles, bodies, strict=True))


def _are_readable(pieces: Sequence[Block], whole: Block, widths: Callable, width: int) -> bool:
    """True where the columns that all pieces share tell the rows apart and take no more than half of the width."""
    shared = [a for a, b in zip(pieces[0].headers, pieces[1].headers, strict=False) if a == b]
    firsts = [row[0].text for row in whole.rows]
    are_named = len(set(firsts)) == len(firsts) or whole.headers[: naming(whole)] == shared
    return are_named and sum(widths(pieces[0])[: len(shared)]) <= width / 2


def _as_lists(block: Block, width: int, show: Callable[[object], str]) -> str:
    """The rows as lists: the first cell, and below it `header: text` for each of the others."""
    rows = []
    for row in block.rows:
        first, *rest = ((header, show(cell)) for header, cell in zip(block.headers, row, strict=True))
        pairs = [f"{header}: {content};" for header, content in rest if content]
        joined = " ".join(pair.replace(" ", KEEP) if len(pair) + 4 <= width else pair for pair in pairs)
        lines = textwrap.wrap(joined.removesuffix(";"), width, initial_indent="  ", subsequent_indent="    ")
        rows.append("\n".join([*wrapped(first[1], width, "    "), *(line.replace(KEEP, " ") for line in lines)]))
    return "\n\n".join(rows)


def grid_text(block: Block, style: str, show: Callable[[object], str]) -> str:
    """Header, line and rows of a block in a style of tabulate."""
    rows = [[show(cell) for cell in row] for row in block.rows]
    align = ["left"] + ["right" if numeric(block, i) else "left" for i in range(1, len(block.headers))]
    headers = [show(header) for header in block.headers]
    return tabulate(rows, headers=headers, tablefmt=style, disable_numparse=True, colalign=align)
