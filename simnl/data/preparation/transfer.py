"""One request to an untrusted server, whose answer is checked and limited."""

from __future__ import annotations

import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from simnl.bars import bar as progress_bar

from .sizes import DiskError, require_space
from .sources import Remote

TIMEOUT = 60.0  # seconds without any byte
ANSWER = 120.0  # seconds for the head of an answer, with all redirects
WINDOW = 60.0  # seconds over which the speed is measured
SLOWEST = 1000  # bytes a second; with less, the largest file of the catalogue would take a year
LIMIT = 50_000_000_000  # limit for a file whose size the catalogue does not state; the largest one has 37 GB
RESERVE = 1_000_000_000  # bytes that stay free on the disk during a download of unknown size
CHUNK = 1 << 20
AGENT = "prepare_data (urllib)"  # some servers refuse urllib's own name
PACKED = (".gz", ".tgz")  # some servers send these files unchanged with `Content-Encoding: gzip`


class BadAnswer(ValueError):
    """The answer of a server cannot be the file, and asking again would not help."""


def continue_download(url: str, part: Path, remote: Remote) -> bool:
    """Request the missing bytes of `part` once. True if the file is then complete, False if the connection broke.

    Raises:
        BadAnswer: the head is invalid, there are more bytes than the file has, or they come too slowly. Slow bytes are
            kept in `part`.
        DiskError: the disk has a problem. OSError, http.client.HTTPException, ValueError: the connection or the address
            has one.
    """
    start = part.stat().st_size if part.exists() else 0
    try:
        response = _ask(url, start)
    except urllib.error.HTTPError as error:
        said = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range") or "", re.ASCII)
        if error.code != 416 or not start:
            raise
        if said and int(said[1]) == start:
            return True
        part.unlink()  # start again: `part` is too long, or the server does not say how long the file is
        return continue_download(url, part, remote)
    with response:
        sent_from, whole = _range(response)
        if response.status == 206 and sent_from != start:
            if not start:
                raise BadAnswer("the server sends a part of the file (206), but was asked for all of it")
            part.unlink()  # start again: the server sends another part
            return continue_download(url, part, remote)
        start = start if response.status == 206 else 0
        total = _total(response, start, whole, remote)
        require_space(part.parent, total - start, remote.name)
        with _written(part):
            file = open(part, "ab" if start else "wb")  # noqa: SIM115 - closed by the next `with`
        with file:
            _receive(response, file, start, total, remote)
        return not total or part.stat().st_size >= total


def _ask(url: str, start: int):
    """The answer with its head. A thread asks, because urllib's timeout begins again with every byte of the head."""
    headers = {"User-Agent": AGENT} | ({"Range": f"bytes={start}-"} if start else {})
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=ANSWER)
    except queue.Empty:
        raise BadAnswer(f"the server gave no complete answer within {ANSWER:.0f} s") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _range(response) -> tuple[int | None, int]:
    """First byte and size of the whole file, from Content-Range; None and 0 if it does not tell them."""
    told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "", re.ASCII)
    if not told:
        return None, 0
    return int(told[1]), 0 if told[2] == "*" else int(told[2])


def _total(response, start: int, whole: int, remote: Remote) -> int:
    """The number of bytes of the whole file; 0 if it is not known."""
    packing = (response.headers.get("Content-Encoding") or "identity").lower()
    if packing != "identity" and not remote.name.endswith(PACKED):
        raise BadAnswer(f"the server sends the file packed ({packing}), which was not asked for")
    lengths = {text.strip() for text in response.headers.get_all("Content-Length") or ()}
    wrong = sorted(text for text in lengths if not re.fullmatch(r"\d{1,18}", text, re.ASCII))
    if wrong or len(lengths) > 1:
        raise BadAnswer(f"the server gives an invalid Content-Length: {', '.join(wrong or sorted(lengths))[:80]}")
    told = whole or (start + int(lengths.pop()) if lengths else 0)
    if remote.size and told and told != remote.size:
        raise BadAnswer(f"the server has {told:,} bytes, but the file has {remote.size:,} (perhaps this is a web page)")
    if told > max(LIMIT, remote.size):
        raise BadAnswer(f"the server says that it has {told:,} bytes, more than any file of a data set")
    return told or remote.size


def _receive(response, file, start: int, total: int, remote: Remote) -> None:
    """Receive the body until the file or the connection ends, or the transfer is too slow."""
    got, most = start, total or LIMIT
    pace = Pace(start)
    with progress_bar(f"download {remote.name}", total or None, "B", initial=start) as bar:
        while chunk := response.read1(CHUNK):
            got += len(chunk)
            if got > most:
                Path(file.name).unlink()
                raise BadAnswer(f"the server sends more than {most:,} bytes{'' if total else ' and states no length'}")
            if not total:
                require_space(Path(file.name).parent, RESERVE, remote.name)
            with _written(Path(file.name)):
                file.write(chunk)
                file.flush()
            bar.update(len(chunk))
            pace.check(got)


class Pace:
    """Detects a transfer that is too slow, though it never stops."""

    def __init__(self, got: int):
        self._since, self._from = time.monotonic(), got

    def check(self, got: int) -> None:
        """Raise `BadAnswer` if fewer than `SLOWEST` bytes a second came in the last `WINDOW` seconds."""
        seconds = time.monotonic() - self._since
        if seconds < WINDOW:
            return
        if got - self._from < SLOWEST * seconds:
            raise BadAnswer(
                f"the download is too slow: {got - self._from:,} bytes in {seconds:.0f} s. It is continued next time"
            )
        self._since, self._from = time.monotonic(), got


@contextmanager
def _written(part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DiskError(
            f"{part} could not be written ({error}). Solve this and run the command again to continue it."
        ) from error
