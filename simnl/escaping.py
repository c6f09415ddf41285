"""Make names and messages that others wrote harmless for the place where they are shown.

A name of a class folder, a server or a file may hold what a terminal obeys (escape codes), what a spreadsheet computes
(`=...`), markdown links, or characters that change the direction of the text around them (bidirectional overrides).
There is one function for each format, and everything that is shown passes through one of them.
"""

from __future__ import annotations

import hashlib
import logging
import re

# Control characters except line feed and tab, surrogates, and characters without width or that turn the direction.
UNSEEN = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
UNSAFE = re.compile(f"[{UNSEEN}]")
UNSAFE_IN_LINE = re.compile(f"[{UNSEEN}\n\t]")
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # how a spreadsheet's formulas start
LENGTH = 80  # characters of a value in a message
NO_FILE_NAME = re.compile(r'[/\\%:*?"<>|]|^\.|^$')  # characters that are special in some system, hidden files
BYTES = 120  # the most bytes of a file name that is made of a text


def printable(text: str, lines: bool = False) -> str:
    """The text in which characters that a terminal would obey or a reader could not see are written out: `\\x1b`.

    Args:
        lines: True to keep line feeds and tabs.
    """
    unsafe = UNSAFE if lines else UNSAFE_IN_LINE
    return unsafe.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(text: str) -> str:
    """A text for messages: one printable line of at most `LENGTH` characters."""
    line = printable(text[: 2 * LENGTH])
    if max(len(text), len(line)) <= LENGTH:
        return line
    return f"{line[: LENGTH - 20]}... ({len(text):,} characters)"


def csv_field(value: object) -> object:
    """A field that no spreadsheet takes for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return "" if value is None else value
    line = printable(value)
    return f"'{line}" if line.lstrip().startswith(FORMULA) and not _is_number(line) else line


def markdown(text: str) -> str:
    """Text in which markdown sees no markup: no links, images, html, emphasis, code or columns."""
    line = re.sub(r"&(?=#?\w+;)", "&amp;", printable(text))
    line = re.sub(r"([\\|*`\[\]~])|(?<!\w)_|_(?!\w)", lambda found: f"\\{found[0]}", line)
    return line.replace("<", "&lt;")


def figure_text(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return printable(text, lines=True).replace("$", r"\$")


def file_name(text: str) -> str:
    """A text as the name of one file or folder, which leads nowhere else: `a/b` is `a%2Fb`. Long ones are cut."""
    name = NO_FILE_NAME.sub(lambda found: f"%{ord(found[0] or '%'):02X}", printable(text))
    if len(name.encode()) <= BYTES:
        return name
    start = name.encode()[: BYTES - 17].decode(errors="ignore")
    return f"{start}~{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class PlainRecord(logging.LogRecord):
    """A log record whose message is printable, whatever it quotes."""

    def getMessage(self) -> str:
        """The message as always, then made printable."""
        return printable(super().getMessage(), lines=True)


def keep_logs_printable() -> None:
    """Make all log messages of this process printable from now on, on every handler."""
    logging.setLogRecordFactory(PlainRecord)
