"""Fill the tables of pages in docs/, which stand between `<!-- begin NAME ... -->` and `<!-- end NAME -->`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from simnl.files import write_text_atomically

Tables = Mapping[str, Callable[[], list[str]]]  # name -> a function that makes its lines of markdown


def filled(page: str, tables: Tables, path: Path) -> str:
    """A page in which all tables are made anew.

    Args:
        page: the text of the page.
        tables: the tables between its markers.
        path: the path of the page, for messages.

    Raises:
        ValueError: a marker is missing, or a table cannot be made.
    """
    for name, table in tables.items():
        block = re.compile(rf"(<!-- begin {name}\b[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
        if not block.search(page):
            raise ValueError(f"{path} has no lines <!-- begin {name} --> and <!-- end {name} -->. Put them back.")
        text = "\n".join(["", *table(), "", ""])
        page = block.sub(lambda match, text=text: match[1] + text + match[2], page)  # type: ignore[misc]
    return page


def write_page(path: Path, tables: Tables, check: bool) -> bool:
    """Write a page in which all tables are made anew, unless it is up to date or `check` is True.

    Returns:
        Whether the page was up to date.

    Raises:
        ValueError: see `filled`. OSError: the page cannot be read or written.
    """
    page = path.read_text(encoding="utf-8")
    new = filled(page, tables, path)
    if new != page and not check:
        write_text_atomically(path, new)
    return new == page


def table(headings: Iterable[str], lines: Iterable[Iterable[str]]) -> list[str]:
    """A table as lines of markdown."""
    headings = list(headings)
    rule = "|" + "---|" * len(headings)
    return [_line(headings), rule, *map(_line, lines)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
