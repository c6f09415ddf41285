"""Tables that fit: columns that say the same in all rows go into a line above, then columns continue below."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from simnl.results.tables.model import MISSING, NOT_APPLICABLE, Block

NO_FIGURE = (MISSING, NOT_APPLICABLE, "")
METHOD = "method"  # the header of the column that is never left out


def numeric(block: Block, column: int) -> bool:
    """True for a column of figures, some of which may be missing."""
    return all(row[column].value is not None or row[column].text in NO_FIGURE for row in block.rows)


def fit(block: Block, widths: Callable[[Block], Sequence[float]], limit: float) -> list[Block]:
    """The block as it is, if it fits; else folded; else also in pieces, each with the columns that name its rows.

    Args:
        block: rows and columns.
        widths: the widths of a block's columns, with what is between them.
        limit: the largest sum of them.

    Returns:
        One or more blocks; a single column beside those that name the rows may still be wider than the limit.
    """
    if sum(widths(block)) <= limit:
        return [block]
    block = folded(block)
    each = widths(block)
    if sum(each) <= limit:
        return [block]
    names = naming(block)
    if sum(each[:names]) + max(each[names:], default=limit) > limit:
        names = 1
    pieces: list[list[int]] = []
    for column in range(names, len(each)):
        if not pieces or sum(each[i] for i in (*pieces[-1], column)) > limit:
            pieces.append(list(range(names)))
        pieces[-1].append(column)
    return [_columns(block, piece) for piece in pieces]


def naming(block: Block) -> int:
    """How many columns stand before the figures, and so name the rows."""
    return next((i for i in range(1, len(block.headers)) if numeric(block, i)), len(block.headers))


def folded(block: Block) -> Block:
    """The block without the columns of text that say the same in all rows; and what they said."""
    shared = []
    for i, header in enumerate(block.headers):
        names_rows = header == METHOD or (i == 0 and METHOD not in block.headers)
        cells = [row[i] for row in block.rows]
        is_same = bool(cells) and all(cell.value is None and cell.text == cells[0].text for cell in cells)
        if is_same and not names_rows:
            shared.append(i)
    kept = [i for i in range(len(block.headers)) if i not in shared]
    said = ", ".join(f"{block.headers[i]} {block.rows[0][i].text}" for i in shared if block.rows[0][i].text)
    return replace(_columns(block, kept), shared=f"In all rows: {said}." if said else block.shared)


def _columns(block: Block, columns: Sequence[int]) -> Block:
    rows = [[row[i] for i in columns] for row in block.rows]
    return replace(block, headers=[block.headers[i] for i in columns], rows=rows)
