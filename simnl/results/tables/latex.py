"""Tables for a paper in two columns: as wide as they need, at most a page each, a short caption, notes below."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby

from simnl.results.published.audit import RAISED
from simnl.results.tables.fit import fit, numeric
from simnl.results.tables.model import Block, Cell, Row, Table, shown

DEFAULT_TITLE = "Results"
PREAMBLE = r"% Needs \usepackage{amssymb,array,booktabs,graphicx}."
# Points in the class `article`: of a column, of the page; at \footnotesize of a letter of an interval, of one above the
# line, of a gap.
COLUMN, TEXT = 229.0, 460.0
SMALL, TINY, GAP = 3.3, 2.6, 6.0
NARROW, WIDE = " ijlftrI.,:;|!()[]'-", "mw%@+−=✓✗"
SMALLEST = 0.6  # the smallest share of \footnotesize: what is still too wide continues below
LONG = 150.0  # points: what is wider is set in lines of this width
LINES = 50  # the lines of a page, at \footnotesize, without a caption of two lines
HEAD = 3  # lines: rules, headers, the title of a block
NOTE_LETTER = 3.5
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
BELOW = ("published", "difference")  # rows that belong to the one above
_show = partial(shown, fmt="latex")


def latex_text(tables: Sequence[Table], legend: str) -> str:
    """The tables of one layout as floats, one below the other. legend: the meaning of the marks."""
    labels: dict[str, int] = {}
    floats = []
    for table in tables:
        notes = [_show(sentence) for sentence in [*table.caption, *([legend] if table.marked else [])]]
        for title, blocks in _pages(table, notes):
            label = _label(title, labels)
            floats.append(_float(title, label, blocks, notes))
            if len(notes) > 1:  # the floats of a table say the same
                notes = [rf"Notes: below Table~\ref{{{label}}}."]
    return "\n\n".join([PREAMBLE, *floats])


def _label(title: str, used: dict[str, int]) -> str:
    """`tab:` and the words of a title; a number behind it where another float has the same."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower().replace(": accuracy in %", "")).strip("-") or "runs"
    used[slug] = used.get(slug, 0) + 1
    return f"tab:{slug}" + (f"-{used[slug]}" if used[slug] > 1 else "")


def _pages(table: Table, notes: Sequence[str]) -> Iterator[tuple[str, list[Block]]]:
    """Title and blocks of each float: one for the table; where a page is too small, one or more for each block."""
    blocks = [piece for b in table.blocks for piece in fit(b, _widths, TEXT / SMALLEST)]
    room = LINES - _note_lines(notes, COLUMN if _is_narrow(blocks, notes) else TEXT)
    if sum(_height(block) for block in blocks) <= room:
        yield table.title, blocks
        return
    for block in blocks:
        parts = list(_cut(block, room))
        for number, part in enumerate(parts, 1):
            of_parts = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
            yield ", ".join(filter(None, [table.title, block.title, of_parts])), [part]


def _cut(block: Block, room: int) -> Iterator[Block]:
    """The block in pieces of at most `room` lines, in which no row is apart from those that belong to it."""
    part = replace(block, rows=[], title="")
    groups: list[list[Row]] = []
    for row in block.rows:
        if not groups or row[0].text not in BELOW:
            groups.append([])
        groups[-1].append(row)
    for group in groups:
        longer = replace(part, rows=[*part.rows, *group])
        if part.rows and _height(longer) > room:
            yield part
            longer = replace(part, rows=group)
        part = longer
    yield part


def _height(block: Block) -> float:
    """Lines of a block after it was shrunk to the page."""
    lines = sum(max(math.ceil(_points(cell) / LONG) for cell in row) for row in block.rows)
    return (HEAD + lines) * min(1.0, TEXT / sum(_widths(block)))


def _note_lines(notes: Sequence[str], width: float) -> int:
    return math.ceil(sum(len(note) + 10 for note in notes) * NOTE_LETTER / width)


def _is_narrow(blocks: Sequence[Block], notes: Sequence[str]) -> bool:
    """One column is enough for the blocks, and the notes leave at least half of it to them."""
    return all(sum(_widths(block)) <= COLUMN for block in blocks) and _note_lines(notes, COLUMN) <= LINES / 2


def _widths(block: Block) -> list[float]:
    """The width of each column, in points."""
    columns = zip(block.headers, *block.rows, strict=True)
    return [min(max(_points(cell) for cell in column), LONG) + GAP for column in columns]


def _points(cell: Cell | str) -> float:
    content = shown(cell, "terminal")
    plain = content.rstrip("".join(RAISED.values()))
    value, _, half = plain.partition(" ± ")
    letters = [2.6 if c in NARROW else 6.0 if c.isupper() or c in WIDE else 4.2 for c in value]
    return sum(letters) + (len(half) + 1.5) * SMALL * bool(half) + (len(content) - len(plain)) * TINY


def _float(title: str, label: str, blocks: Sequence[Block], notes: Sequence[str]) -> str:
    """One table; over both columns where it does not fit one."""
    name = "table" if _is_narrow(blocks, notes) else "table*"
    tabulars = [_tabular(list(same)) for _, same in groupby(blocks, lambda block: block.headers)]
    shared = [_show(sentence) for sentence in dict.fromkeys(block.shared for block in blocks) if sentence]
    return "\n".join(
        [
            rf"\begin{{{name}}}",
            r"\centering",
            rf"\caption{{{_breakable(_show(title or DEFAULT_TITLE))}.}}",
            rf"\label{{{label}}}",
            r"\footnotesize",
            rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
            "\n\\par\\medskip\n".join(f"{FIT}\n{tabular}}}" for tabular in tabulars),
            r"\par\smallskip",
            r"\begin{minipage}{\linewidth}",
            r"\scriptsize\raggedright",
            *(_breakable(note) for note in [*shared, *notes]),
            r"\end{minipage}",
            rf"\end{{{name}}}",
        ]
    )


def _breakable(note: str) -> str:
    """Text in which long names may break behind a dot, a slash or a line."""
    return re.sub(r"(?<=[A-Za-z])(\.|/|=|\+|\\_)(?=\w)", r"\1\\allowbreak{}", note)


def _tabular(blocks: Sequence[Block]) -> str:
    """A booktabs tabular: blocks of the same header, between rules."""
    headers = blocks[0].headers
    lines = [rf"\begin{{tabular}}{{{_align(blocks)}}}", r"\toprule", " & ".join(map(_show, headers)) + r" \\"]
    for block in blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{len(headers)}}}{{l}}{{\emph{{{_show(block.title)}}}}} \\")
        rows = [[_breakable(_show(c)) if _points(c) > LONG else _show(c) for c in row] for row in block.rows]
        lines += [("{}" if row[0][:1] in ("[", "*") else "") + " & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _align(blocks: Sequence[Block]) -> str:
    """One letter per column; running text in lines."""
    letters = []
    for i in range(len(blocks[0].headers)):
        is_long = max(_points(row[i]) for block in blocks for row in block.rows) > LONG
        plain = "r" if i and any(numeric(block, i) for block in blocks) else "l"
        letters.append(rf">{{\raggedright\arraybackslash}}p{{{LONG:g}pt}}" if is_long else plain)
    return "".join(letters)
