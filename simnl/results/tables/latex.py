"""Tables for a paper in two columns: as wide as they need, at most a page each, a short caption, notes below."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from simnl.results.published.audit import RAISED
from simnl.results.tables.fit import fit, numeric
from simnl.results.tables.model import Block, Cell, Row, Table

Show = Callable[[Cell | str], str]
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


def latex_text(tables: Sequence[Table], show: Show, plain: Show, legend: str) -> str:
    """Floats, one below the other.

    Args:
        tables: the tables of one layout.
        show: a cell or text as LaTeX.
        plain: the same as letters, whose number says how wide it is.
        legend: the meaning of the marks.
    """
    labels: dict[str, int] = {}
    floats = []
    for table in tables:
        notes = [show(sentence) for sentence in [*table.caption, *([legend] if table.marked else [])]]
        for title, blocks in _pages(table, notes, plain):
            label = _label(title, labels)
            floats.append(_float(title, label, blocks, notes, show, plain))
            if len(notes) > 1:  # the floats of a table say the same
                notes = [rf"Notes: below Table~\ref{{{label}}}."]
    return "\n\n".join([PREAMBLE, *floats])


def _label(title: str, used: dict[str, int]) -> str:
    """`tab:` and the words of a title; a number behind it where another float has the same."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower().replace(": accuracy in %", "")).strip("-") or "runs"
    used[slug] = used.get(slug, 0) + 1
    return f"tab:{slug}" + (f"-{used[slug]}" if used[slug] > 1 else "")


def _pages(table: Table, notes: Sequence[str], plain: Show) -> Iterator[tuple[str, list[Block]]]:
    """Title and blocks of each float: one for the table; where a page is too small, one or more for each block."""
    blocks = [piece for b in table.blocks for piece in fit(b, lambda part: _widths(part, plain), TEXT / SMALLEST)]
    room = LINES - _note_lines(notes, COLUMN if _is_narrow(blocks, notes, plain) else TEXT)
    if sum(_height(block, plain) for block in blocks) <= room:
        yield table.title, blocks
        return
    for block in blocks:
        parts = list(_cut(block, room, plain))
        for number, part in enumerate(parts, 1):
            of_parts = f"part {number} of {len(parts)}" if len(parts) > 1 else ""
            yield ", ".join(filter(None, [table.title, block.title, of_parts])), [part]


def _cut(block: Block, room: int, plain: Show) -> Iterator[Block]:
    """The block in pieces of at most `room` lines, in which no row is apart from those that belong to it."""
    part = replace(block, rows=[], title="")
    for group in _together(block.rows):
        longer = replace(part, rows=[*part.rows, *group])
        if part.rows and _height(longer, plain) > room:
            yield part
            longer = replace(part, rows=group)
        part = longer
    yield part


def _height(block: Block, plain: Show) -> float:
    """Lines of a block after it was shrunk to the page."""
    lines = sum(max(math.ceil(_points(plain(cell)) / LONG) for cell in row) for row in block.rows)
    return (HEAD + lines) * min(1.0, TEXT / sum(_widths(block, plain)))


def _note_lines(notes: Sequence[str], width: float) -> int:
    return math.ceil(sum(len(note) + 10 for note in notes) * NOTE_LETTER / width)


def _is_narrow(blocks: Sequence[Block], notes: Sequence[str], plain: Show) -> bool:
    """One column is enough for the blocks, and the notes leave at least half of it to them."""
    return all(sum(_widths(block, plain)) <= COLUMN for block in blocks) and _note_lines(notes, COLUMN) <= LINES / 2


def _together(rows: Sequence[Row]) -> list[list[Row]]:
    groups: list[list[Row]] = []
    for row in rows:
        if groups and row[0].text in BELOW:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _widths(block: Block, plain: Show) -> list[float]:
    """The width of each column, in points."""
    columns = zip(block.headers, *block.rows, strict=True)
    return [min(max(_points(plain(cell)) for cell in column), LONG) + GAP for column in columns]


def _points(content: str) -> float:
    plain = content.rstrip("".join(RAISED.values()))
    value, _, half = plain.partition(" ± ")
    letters = [2.6 if c in NARROW else 6.0 if c.isupper() or c in WIDE else 4.2 for c in value]
    return sum(letters) + (len(half) + 1.5) * SMALL * bool(half) + (len(content) - len(plain)) * TINY


def _float(title: str, label: str, blocks: Sequence[Block], notes: Sequence[str], show: Show, plain: Show) -> str:
    """One table; over both columns where it does not fit one."""
    name = "table" if _is_narrow(blocks, notes, plain) else "table*"
    tabulars = [_tabular(list(same), show, plain) for _, same in groupby(blocks, lambda block: block.headers)]
    shared = [show(sentence) for sentence in dict.fromkeys(block.shared for block in blocks) if sentence]
    return "\n".join(
        [
            rf"\begin{{{name}}}",
            r"\centering",
            rf"\caption{{{_breakable(show(title or DEFAULT_TITLE))}.}}",
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


def _tabular(blocks: Sequence[Block], show: Show, plain: Show) -> str:
    """A booktabs tabular: blocks of the same header, between rules."""
    headers = blocks[0].headers
    lines = [rf"\begin{{tabular}}{{{_align(blocks, plain)}}}", r"\toprule", " & ".join(map(show, headers)) + r" \\"]
    for block in blocks:
        lines.append(r"\midrule")
        if block.title:
            lines.append(rf"\multicolumn{{{len(headers)}}}{{l}}{{\emph{{{show(block.title)}}}}} \\")
        rows = [[_breakable(show(c)) if _points(plain(c)) > LONG else show(c) for c in row] for row in block.rows]
        lines += [("{}" if row[0][:1] in ("[", "*") else "") + " & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _align(blocks: Sequence[Block], plain: Show) -> str:
    """One letter per column; running text in lines."""
    letters = []
    for i in range(len(blocks[0].headers)):
        if max(_points(plain(row[i])) for block in blocks for row in block.rows) > LONG:
            letters.append(rf">{{\raggedright\arraybackslash}}p{{{LONG:g}pt}}")
        else:
            letters.append("r" if i and any(numeric(block, i) for block in blocks) else "l")
    return "".join(letters)
